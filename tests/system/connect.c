/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connect.c - where a broker is looked for, what is said when there is none, and what when it
 * speaks something else.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "raw.h"
#include "segment.h"
#include "util.h"
#include "wire.h"

#define SYSTEM_PATH "/run/shmd/control"

static int connect_to(const char *path)
{
        struct shmd_connect_options options = {.size = sizeof(options), .socket = path};
        struct shmd *bus;
        int code = shmd_connect(&bus, &options);

        must_equal(code == 0, bus != NULL);
        shmd_close(bus);
        return code;
}

/* Sets, or for NULL unsets, a variable of the environment for the length of one connect. */
static int connect_with(const char *socket, const char *runtime)
{
        const char *was = getenv("XDG_RUNTIME_DIR");
        cleanup_free char *saved = was ? strdup(was) : NULL;
        int code;

        unsetenv("XDG_RUNTIME_DIR");
        if (socket)
                setenv("SHMD_SOCKET", socket, 1);
        if (runtime)
                setenv("XDG_RUNTIME_DIR", runtime, 1);
        code = connect_to(NULL);
        unsetenv("SHMD_SOCKET");
        unsetenv("XDG_RUNTIME_DIR");
        if (saved)
                setenv("XDG_RUNTIME_DIR", saved, 1);
        return code;
}

static const char *in_directory(const char *name)
{
        static char path[128];

        snprintf(path, sizeof(path), "%s/%s", broker.directory, name);
        return path;
}

/* ---- looking for one --------------------------------------------------------------------- */

static void named_socket_is_the_only_one_tried(void **state)
{
        const char *nowhere = in_directory("nowhere");

        /* The test's broker is where $XDG_RUNTIME_DIR says, but that is not asked. */
        must_equal(connect_with(nowhere, broker.directory), -ENOENT);
        must_say(shmd_error(), nowhere, "No such file", "shmd --socket");
        must(!strstr(shmd_error(), SYSTEM_PATH));
        must(!strstr(shmd_error(), broker.socket));
        must_equal(connect_to(nowhere), -ENOENT);
        must_say(shmd_error(), nowhere, "No such file", "shmd --socket");
        must_equal(connect_with(broker.socket, nowhere), 0);
        /* What the program says comes before what its environment says. */
        setenv("SHMD_SOCKET", nowhere, 1);
        must_equal(connect_to(broker.socket), 0);
        unsetenv("SHMD_SOCKET");
        /* Set to nothing is not set. */
        must_equal(connect_with("", broker.directory), 0);
}

static void runtime_directory_is_tried_before_the_system(void **state)
{
        must_equal(connect_with(NULL, broker.directory), 0);
        if (access(SYSTEM_PATH, F_OK) == 0)
                skip_because("a broker of the system is there");
        must_equal(connect_with(NULL, in_directory("nowhere")), -ENOENT);
        must_say(shmd_error(), in_directory("nowhere/shmd/control"), SYSTEM_PATH, "No such file",
                 "start one with 'shmd'");
        must_equal(connect_with(NULL, NULL), -ENOENT);
        must_say(shmd_error(), SYSTEM_PATH, "No such file", "start one with 'shmd'");
}

static void each_path_has_its_own_reason(void **state)
{
        char text[256];

        broker_kill();
        must_equal(connect_to(broker.socket), -ECONNREFUSED);
        must_say(shmd_error(), broker.socket, "Connection refused", "shmd --socket");
        memset(text, 'a', sizeof(text));
        text[200] = '\0';
        must_equal(connect_to(text), -ENAMETOOLONG);
        must_say(shmd_error(), "too long");
        if (access(SYSTEM_PATH, F_OK) == 0)
                skip_because("a broker of the system is there");
        must_equal(connect_with(NULL, broker.directory), -ECONNREFUSED);
        snprintf(text, sizeof(text), "%s (Connection refused), %s (No such file", broker.socket,
                 SYSTEM_PATH);
        must_say(shmd_error(), text, "start one with 'shmd'");
}

static void closed_door_is_named(void **state)
{
        bool is_root = geteuid() == 0;

        /* Root may open every door, so it has to be somebody else for a moment. */
        if (is_root && seteuid(65534) < 0)
                skip_because("there is no user 65534 here");
        if (!is_root)
                must_equal(chmod(broker.socket, 0), 0);
        must_equal(connect_to(broker.socket), -EACCES);
        must_say(shmd_error(), broker.socket, "Permission denied");
        if (is_root)
                must_equal(seteuid(0), 0);
        else
                must_equal(chmod(broker.socket, 0600), 0);
}

/* ---- brokers that are none --------------------------------------------------------------- */

/* What a false broker answers to HELLO. */
struct answer {
        const void *message;
        size_t size;
        bool has_page;
        uint32_t layout;
};

static void be_false_broker(void *argument)
{
        const struct answer *answer = argument;
        struct segment page = SEGMENT_NONE;
        struct packet packet;
        int listener = raw_listen(in_directory("false")), fd;

        say('l');
        fd = raw_accept(listener);
        must(raw_receive(fd, &packet));
        must_equal(packet.header.type, MESSAGE_HELLO);
        if (answer->has_page) {
                must_equal(segment_create(&page, "shmd-page", PAGE_SIZE_SESSION), 0);
                *(struct layout_identity *)page.base = (struct layout_identity){
                        .magic = LAYOUT_MAGIC_PAGE, .version = answer->layout};
        }
        if (answer->size)
                raw_send(fd, answer->message, answer->size, &page.fd, answer->has_page);
        hear('e');
        segment_close(&page);
        close(fd);
        close(listener);
        unlink(in_directory("false"));
}

static int connect_to_false_broker(struct answer answer)
{
        struct role *role = role_start("false broker", be_false_broker, &answer);
        int code;

        role_await(role, 'l');
        code = connect_to(in_directory("false"));
        role_tell(role, 'e');
        role_finish(role);
        return code;
}

static void broker_of_another_version_is_named_with_both(void **state)
{
        struct message_welcome welcome = {.version = PROTOCOL_VERSION + 6};
        struct message_hello hello;
        int fd;

        wire_begin(&welcome, MESSAGE_WELCOME, MESSAGE_WELCOME_SIZE_1, 1);
        must_equal(connect_to_false_broker(
                           (struct answer){&welcome, MESSAGE_WELCOME_SIZE_1, true, LAYOUT_VERSION}),
                   -EPROTO);
        must_say(shmd_error(), "version 8", "versions 1 to 2");
        welcome.version = 0;
        must_equal(connect_to_false_broker(
                           (struct answer){&welcome, MESSAGE_WELCOME_SIZE_1, true, LAYOUT_VERSION}),
                   -EPROTO);
        must_say(shmd_error(), "version 0", "versions 1 to 2");
        /* One of the first version is good enough. */
        welcome.version = 1;
        must_equal(connect_to_false_broker((struct answer){&welcome, MESSAGE_WELCOME_SIZE_1, true,
                                                           LAYOUT_VERSION + 6}),
                   -EPROTO);
        must_say(shmd_error(), "broker's page", "layout version 7", "known here is 1");
        must_equal(connect_to_false_broker(
                           (struct answer){&welcome, MESSAGE_WELCOME_SIZE_1, true, LAYOUT_VERSION}),
                   0);
        /* A client that is newer but knows the old version too is welcome. */
        fd = raw_connect();
        raw_fill_hello(&hello, 9, 1);
        raw_send(fd, &hello, sizeof(hello), NULL, 0);
        {
                struct packet packet;

                must(raw_receive(fd, &packet));
                must_equal(packet.header.type, MESSAGE_WELCOME);
                must_equal(((struct message_welcome *)&packet.header)->version, PROTOCOL_VERSION);
                packet_close(&packet);
        }
        close(fd);
}

static void what_the_broker_says_in_refusing_is_passed_on(void **state)
{
        struct message_goodbye goodbye = {.code = -EACCES, .text = "not on a Sunday"};

        wire_begin(&goodbye, MESSAGE_GOODBYE, sizeof(goodbye), 0);
        must_equal(connect_to_false_broker((struct answer){&goodbye, sizeof(goodbye), false, 0}),
                   -EACCES);
        must_say(shmd_error(), "not on a Sunday");
}

#define N_HASTY 200

/* Has done with whoever comes before that one has said a word. */
static void be_hasty_broker(void *argument)
{
        struct message_goodbye goodbye = {.code = -EACCES, .text = "we are closed"};
        int listener = raw_listen(in_directory("false"));

        wire_begin(&goodbye, MESSAGE_GOODBYE, sizeof(goodbye), 0);
        say('l');
        for (unsigned i = 0; i < N_HASTY; i++) {
                int fd = raw_accept(listener);

                raw_send(fd, &goodbye, sizeof(goodbye), NULL, 0);
                close(fd);
        }
        close(listener);
        unlink(in_directory("false"));
}

static void refusal_may_come_before_the_greeting(void **state)
{
        struct role *role = role_start("hasty broker", be_hasty_broker, NULL);

        role_await(role, 'l');
        for (unsigned i = 0; i < N_HASTY; i++) {
                must_equal(connect_to(in_directory("false")), -EACCES);
                must_say(shmd_error(), "we are closed");
        }
        role_finish(role);
}

static void nonsense_of_a_broker_is_refused(void **state)
{
        struct message_welcome welcome = {.version = PROTOCOL_VERSION};
        static const char garbage[] = "HTTP/1.1 400 Bad Request";

        must_equal(connect_to_false_broker((struct answer){garbage, sizeof(garbage), false, 0}),
                   -EPROTO);
        must_say(shmd_error(), "nonsense");
        wire_begin(&welcome, MESSAGE_WELCOME, sizeof(welcome), 1);
        must_equal(connect_to_false_broker((struct answer){&welcome, 20, true, LAYOUT_VERSION}),
                   -EPROTO);
        must_say(shmd_error(), "nonsense");
        /* No page comes with it. */
        must(connect_to_false_broker((struct answer){&welcome, sizeof(welcome), false, 0}) < 0);
}

static void broker_that_does_not_answer_is_given_five_seconds(void **state)
{
        uint64_t begin = harness_now();

        must_equal(connect_to_false_broker((struct answer){.size = 0}), -ETIMEDOUT);
        must_say(shmd_error(), "does not answer");
        must(harness_now() - begin >= 5000 * MS);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(named_socket_is_the_only_one_tried),
                system_test(runtime_directory_is_tried_before_the_system),
                system_test(each_path_has_its_own_reason),
                system_test(closed_door_is_named),
                system_test(broker_of_another_version_is_named_with_both),
                system_test(what_the_broker_says_in_refusing_is_passed_on),
                system_test(refusal_may_come_before_the_greeting),
                system_test(nonsense_of_a_broker_is_refused),
                system_test(broker_that_does_not_answer_is_given_five_seconds),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-connect", tests, NULL, NULL);
}
