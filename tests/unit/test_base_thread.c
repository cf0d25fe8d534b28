#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/base/thread.h"

#define MS INT64_C(1000000)

typedef struct Rounds {
    Worker worker;
    int64_t pause_ns;
    atomic_int count;
    bool has_signals;
} Rounds;

static void *run(void *ctx)
{
    Rounds *rounds = ctx;
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    rounds->has_signals = sigismember(&blocked, SIGTERM) == 0;
    do {
        rounds->count++;
    } while (worker_rest_until(&rounds->worker, clock_now_ns() + rounds->pause_ns));
    return NULL;
}

static void test_a_worker_works_until_it_is_stopped(void **state)
{
    const struct {
        int64_t pause_ns;
        int rounds;
    } cases[] = {{3600000 * MS, 1}, {5 * MS, 3}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Rounds rounds = {.pause_ns = cases[i].pause_ns};
        int64_t began_ns = clock_now_ns();
        assert_int_equal(worker_start(&rounds.worker, run, &rounds), 0);
        while (rounds.count < cases[i].rounds) {
            assert_true(clock_now_ns() - began_ns < 60000 * MS);
        }
        worker_stop(&rounds.worker);
        assert_true(clock_now_ns() - began_ns < 60000 * MS);
        assert_true(clock_now_ns() - began_ns >= (cases[i].rounds - 1) * cases[i].pause_ns);
        assert_false(rounds.has_signals);
    }
}

static void test_waiting_ends_when_the_time_has_come(void **state)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t condition;
    int64_t at_ns = clock_now_ns() + 20 * MS;
    (void)state;
    thread_condition_init(&condition);
    pthread_mutex_lock(&lock);
    while (thread_wait_until(&condition, &lock, at_ns)) {
    }
    pthread_mutex_unlock(&lock);
    assert_in_range(clock_now_ns() - at_ns, 0, 60000 * MS);
    pthread_cond_destroy(&condition);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_worker_works_until_it_is_stopped),
        cmocka_unit_test(test_waiting_ends_when_the_time_has_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
