#include "server/options.h"

int main(int argc, char **argv)
{
    Options options;
    const Command *command = NULL;
    int status = options_parse(argc, argv, &options, &command);
    return status == EXIT_GOOD && command ? command->handler(&options) : status;
}
