#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/base/thread.h"
#include "lib/tls/connection.h"

/* Every wait for another actor ends at its deadline (lib/tls/connection.h), that for a name server
 * too. Names below hang.test are answered by a resolver that does not answer until it is told to.
 */

#define MS INT64_C(1000000)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static bool is_hanging;
static unsigned asked; /* names of hang.test */
static unsigned answered;

typedef int GetAddrInfo(const char *, const char *, const struct addrinfo *, struct addrinfo **);

/** Stands before that of the C library, for the whole program. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret_addresses)
{
    GetAddrInfo *real;
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (!strstr(node, "hang.test") || (hints->ai_flags & AI_NUMERICHOST)) {
        return real(node, service, hints, ret_addresses);
    }
    pthread_mutex_lock(&lock);
    asked++;
    pthread_cond_broadcast(&changed);
    while (is_hanging) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
    int rc = real("127.0.0.1", service, hints, ret_addresses);
    pthread_mutex_lock(&lock);
    answered++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return rc;
}

static void set_hanging(bool hangs)
{
    pthread_mutex_lock(&lock);
    is_hanging = hangs;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/** Until the counter has at least the value. @return what it has then */
static unsigned wait_for(const unsigned *counter, unsigned value)
{
    int64_t until_ns = clock_now_ns() + 20000 * MS;
    pthread_mutex_lock(&lock);
    while (*counter < value && thread_wait_until(&changed, &lock, until_ns)) {
    }
    unsigned reached = *counter;
    pthread_mutex_unlock(&lock);
    assert_true(reached >= value);
    return reached;
}

static int set_up_once(void **state)
{
    (void)state;
    thread_condition_init(&changed);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    asked = answered = 0;
    set_hanging(true);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    set_hanging(false);
    wait_for(&answered, wait_for(&asked, 0));
    return 0;
}

static int connect_to(const char *host, int64_t wait_ms, char *ret_problem, size_t problem_size)
{
    return tls_connection_socket(host, "9", true, clock_now_ns() + wait_ms * MS, ret_problem,
                                 problem_size);
}

static void test_a_resolver_that_hangs_is_waited_for_until_the_deadline(void **state)
{
    (void)state;
    char problem[200] = "";
    assert_int_equal(connect_to("one.hang.test", 100, problem, sizeof(problem)), -1);
    assert_string_equal(problem, "one.hang.test: the name server does not answer in time");
    wait_for(&asked, 1);
}

static void *connect_somewhere(void *host)
{
    char problem[200];
    return (void *)(intptr_t)connect_to(host, 100, problem, sizeof(problem));
}

static void test_many_that_wait_for_one_name_ask_once(void **state)
{
    (void)state;
    char host[] = "two.hang.test";
    pthread_t threads[16];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, connect_somewhere, host), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(wait_for(&asked, 1), 1);
}

static void test_a_name_server_that_answers_late_serves_who_still_waits(void **state)
{
    (void)state;
    char problem[200] = "";
    assert_int_equal(connect_to("three.hang.test", 100, problem, sizeof(problem)), -1);
    set_hanging(false);
    wait_for(&answered, 1);
    assert_int_equal(connect_to("three.hang.test", 20000, problem, sizeof(problem)), -1);
    assert_non_null(strstr(problem, "three.hang.test:9: Connection refused"));
}

static void test_a_resolver_that_hangs_holds_up_no_address(void **state)
{
    (void)state;
    char problem[200] = "";
    char hosts[70][32];
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        snprintf(hosts[i], sizeof(hosts[i]), "n%zu.hang.test", i);
        assert_int_equal(connect_to(hosts[i], 1, problem, sizeof(problem)), -1);
    }
    assert_string_equal(problem, "n69.hang.test: too many names are being looked up; the name "
                                 "server does not answer");
    assert_int_equal(connect_to("127.0.0.1", 20000, problem, sizeof(problem)), -1);
    assert_string_equal(problem, "127.0.0.1:9: Connection refused");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_resolver_that_hangs_is_waited_for_until_the_deadline,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_that_wait_for_one_name_ask_once, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_name_server_that_answers_late_serves_who_still_waits,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_resolver_that_hangs_holds_up_no_address, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, set_up_once, NULL);
}
