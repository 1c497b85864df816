/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c - nobody changes memory that others write: each kind of memory, in the hands of each who
 * gets it, against each attack (attack.h); by the owner's own user, and by another.
 *
 * The attacker speaks the protocol by hand, and so has each descriptor exactly as it was passed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attack.h"
#include "harness.h"
#include "raw.h"
#include "segment.h"
#include "somebody.h"
#include "util.h"
#include "wire.h"

static unsigned n_attacks;

static void attack_by_all_means(const struct target *target)
{
        for (size_t i = 0; i < N_ATTACKS; i++) {
                if ((target->is_own_to_write && (attacks[i].kind & ATTACK_WRITES)) ||
                    (target->is_of_mode && !attacks_are_foreign &&
                     (attacks[i].kind & ATTACK_BY_MODE)))
                        continue;
                must(!attack_succeeds(&attacks[i], target));
                n_attacks++;
        }
}

/* ---- who has what -------------------------------------------------------------------------- */

#define OUT "memory/out"
#define IN  "memory/in"

/* The welcome's descriptors go to `pages`. */
static int begin_session(uint64_t *connection, int pages[2])
{
        struct message_hello hello;
        struct packet packet;
        int fd = raw_connect();

        raw_fill_hello(&hello, PROTOCOL_VERSION, PROTOCOL_MIN_VERSION);
        raw_send(fd, &hello, sizeof(hello), NULL, 0);
        must(raw_receive(fd, &packet));
        must_equal(packet.header.type, MESSAGE_WELCOME);
        for (unsigned i = 0; i < 2; i++)
                pages[i] = packet_take_fd(&packet, i);
        *connection = hello.connection;
        return fd;
}

/* Waits for a message of this type, past others. */
static void await_message(int fd, struct packet *packet, uint32_t type)
{
        for (;;) {
                must(raw_receive(fd, packet));
                if (packet->header.type == type)
                        return;
                packet_close(packet);
        }
}

/* Locks all that may be locked, and makes of the description what it can. Stays so. */
static void lock(const struct target *target)
{
        struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

        flock(target->fd, LOCK_EX | LOCK_NB);
        fcntl(target->fd, F_OFD_SETLK, &whole);
        fcntl(target->fd, F_SETLK, &whole);
        fcntl(target->fd, F_SETLEASE, F_WRLCK);
        fcntl(target->fd, F_SETFL, O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME);
        lseek(target->fd, 1, SEEK_END);
        must(mmap(NULL, target->size, PROT_READ, MAP_SHARED, target->fd, 0) != MAP_FAILED);
}

static size_t size_of(int fd)
{
        struct stat status;

        must_equal(fstat(fd, &status), 0);
        return (size_t)status.st_size;
}

/* The broker raises the page's word after it has sent an introduction; then nothing changes. */
static bool is_raised(int page)
{
        uint64_t word;

        must_equal(pread(page, &word, sizeof(word), offsetof(struct session_page, word)),
                   sizeof(word));
        return word != 0;
}

/* The broker's pages, and what an introduction has brought. */
static void attack_all(const int pages[2], const struct target brought[2])
{
        const struct target targets[] = {
                {.name = "session page", .fd = pages[0], .size = PAGE_SIZE_SESSION, .pid_fd = -1},
                {.name = "alive page", .fd = pages[1], .size = PAGE_SIZE_ALIVE, .pid_fd = -1},
                brought[0],
                brought[1],
        };

        until(is_raised(pages[0]));
        for (size_t i = 0; i < N_ELEMENTS(targets); i++)
                attack_by_all_means(&targets[i]);
        for (size_t i = 0; i < N_ELEMENTS(targets); i++)
                lock(&targets[i]);
        printf("injections: %u\n", n_attacks);
        say('d');
        hear('x');
        /* Its mappings stay, to be there while others go on. */
        fflush(NULL);
        _exit(0);
}

static void attack_as_subscriber(void *argument)
{
        struct message_subscribe subscribe;
        struct packet packet;
        uint64_t connection;
        int pages[2], channel[2], block, fd;
        const struct message_publisher_added *added = (const void *)packet.bytes;

        attacks_are_foreign = argument != NULL;
        if (attacks_are_foreign)
                become_somebody();
        fd = begin_session(&connection, pages);
        block = raw_block(connection);
        must_equal(pipe2(channel, O_CLOEXEC | O_NONBLOCK), 0);
        raw_fill_subscribe(&subscribe, OUT);
        raw_send(fd, &subscribe, sizeof(subscribe), (int[]){block, channel[1]}, 2);
        await_message(fd, &packet, MESSAGE_PUBLISHER_ADDED);
        attack_all(pages, (const struct target[]){
                                  {.name = "segment, by a subscriber",
                                   .fd = packet.fds[0],
                                   .size = size_of(packet.fds[0]),
                                   .peer_pid = added->peer.pid,
                                   .pid_fd = packet.fds[packet.n_fds - 1]},
                                  {.name = "board, by a subscriber",
                                   .fd = packet.fds[1],
                                   .size = BOARD_SIZE,
                                   .is_own_to_write = true,
                                   .pid_fd = -1},
                          });
}

static void attack_as_publisher(void *argument)
{
        struct raw_publisher publisher;
        struct packet packet;
        uint64_t connection;
        int pages[2], fd;
        const struct message_subscriber_added *added = (const void *)packet.bytes;

        attacks_are_foreign = argument != NULL;
        if (attacks_are_foreign)
                become_somebody();
        fd = begin_session(&connection, pages);
        raw_publisher_open(&publisher, IN);
        raw_send(fd, &publisher.message, sizeof(publisher.message), &publisher.fd, 1);
        await_message(fd, &packet, MESSAGE_SUBSCRIBER_ADDED);
        attack_all(pages, (const struct target[]){
                                  {.name = "block, by a publisher",
                                   .fd = packet.fds[0],
                                   .size = BLOCK_SIZE,
                                   .peer_pid = added->peer.pid,
                                   .pid_fd = packet.fds[3]},
                                  {.name = "board, by a publisher",
                                   .fd = packet.fds[1],
                                   .size = BOARD_SIZE,
                                   .is_of_mode = true,
                                   .pid_fd = -1},
                          });
}

/* ---- the owners ---------------------------------------------------------------------------- */

struct owner {
        struct shmd *bus;
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;
};

static void owner_open(struct owner *owner)
{
        struct shmd_publisher_options options = {.size = sizeof(options), .max_size = 256};

        owner->bus = broker_connect();
        must_equal(shmd_advertise(&owner->publisher, owner->bus, OUT, &shmd_bytes, &options), 0);
        must_equal(shmd_subscribe(&owner->subscriber, owner->bus, IN, &shmd_bytes, NULL), 0);
}

/* What is published comes to a newcomer, and to one who sleeps; in both services newcomers meet
 * those who are there. */
static void owner_goes_on(struct owner *owner)
{
        struct shmd_subscriber_state status;
        struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        struct shmd_subscriber *subscriber;
        struct shmd_publisher *publisher;
        struct shmd_sample sample;
        void *data;

        must_equal(shmd_subscribe(&subscriber, bus, OUT, &shmd_bytes, NULL), 0);
        must_equal(shmd_advertise(&publisher, bus, IN, &shmd_bytes, NULL), 0);
        for (unsigned i = 0; i < 100; i++) {
                must_equal(shmd_loan(owner->publisher, &data), 0);
                memset(data, (int)i, 256);
                must_equal(shmd_publish(owner->publisher, data), 0);
                must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
                must_equal(shmd_take(subscriber, &sample), 1);
                must_equal(((const unsigned char *)sample.data)[255], i);
                must_equal(shmd_release(subscriber, &sample), 0);
        }
        must_equal(shmd_loan(publisher, &data), 0);
        must_equal(shmd_publish(publisher, data), 0);
        until(shmd_take(owner->subscriber, &sample) == 1);
        must_equal(shmd_release(owner->subscriber, &sample), 0);
        must_equal(shmd_subscriber_status(owner->subscriber, &status), 0);
        must_equal(status.lost, 0);
        shmd_close(bus);
}

static void attack_with(void (*role)(void *argument), bool foreign)
{
        static char yes;
        struct role *attacker;
        struct owner owner;

        if (foreign)
                let_somebody_in(NULL);
        owner_open(&owner);
        attacker = role_start("attacker", role, foreign ? &yes : NULL);
        role_await(attacker, 'd');
        owner_goes_on(&owner);
        role_tell(attacker, 'x');
        role_finish(attacker);
        owner_goes_on(&owner);
        shmd_close(owner.bus);
}

static void subscriber_of_the_same_user_changes_nothing(void **state)
{
        attack_with(attack_as_subscriber, false);
}

static void publisher_of_the_same_user_changes_nothing(void **state)
{
        attack_with(attack_as_publisher, false);
}

static void skip_without_somebody(void)
{
        if (!can_be_somebody())
                skip_because("only root can be two users");
}

static void subscriber_of_another_user_changes_nothing(void **state)
{
        skip_without_somebody();
        attack_with(attack_as_subscriber, true);
}

/* An arming board that is rewound would let others sleep: among the targets. */
static void publisher_of_another_user_changes_nothing(void **state)
{
        skip_without_somebody();
        attack_with(attack_as_publisher, true);
}

/* The attacks themselves, against memory that nothing protects: those that mean to change it do. */
static void attacks_get_through_where_nothing_is_sealed(void **state)
{
        struct target open = {.name = "open", .size = 8192, .pid_fd = -1};

        for (size_t i = 0; i < N_ATTACKS; i++) {
                if (attacks[i].is_hopeless || !attack_is_possible(&attacks[i]))
                        continue;
                open.fd = memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING);
                must(open.fd >= 0);
                must_equal(ftruncate(open.fd, (off_t)open.size), 0);
                if (!attacks[i].gets_through(&open)) {
                        fprintf(stderr, "%s does not get through\n", attacks[i].name);
                        must(!"an attack works");
                }
                close(open.fd);
        }
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(attacks_get_through_where_nothing_is_sealed),
                system_test(subscriber_of_the_same_user_changes_nothing),
                system_test(publisher_of_the_same_user_changes_nothing),
                system_test(subscriber_of_another_user_changes_nothing),
                system_test(publisher_of_another_user_changes_nothing),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("hostile-memory", tests, NULL, NULL);
}
