#pragma once

/**
 * Numbered steps of a durable operation, for fault tests: when the environment variable
 * MUSUBI_FAIL_AT names this step ("iti41.blob_synced", or "iti41.blob_synced:3" for its third
 * passage), the process ends by SIGKILL. Without the variable it costs one load.
 */
void fail_point(const char *step);
