/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity-resume.c - another user's process says to the next broker that it is somebody who was
 * there before, and comes before him.
 *
 * What it needs to know for that it is told here, as a peer of its victim would know it: ids,
 * inodes, numbers of boards.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "comeback.h"
#include "connection.h"
#include "impostor.h"
#include "raw.h"
#include "somebody.h"
#include "wire.h"

#define SERVICE "identity/samples"

/* Holds a sample, and comes back late to the next broker. */
static void hold_for_long(void *argument)
{
        struct shmd_subscriber *subscriber;
        struct shmd_sample held;
        struct tally tally = {0};
        struct shmd *bus;

        bus = broker_connect();
        subscriber = stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        say('r');
        hear('t');
        must_equal(shmd_take(subscriber, &held), 1);
        say('h');
        hear('c');
        until_settled(bus, NULL);
        must_equal(state_of(bus).stranded, 0);
        must_equal(status_of(subscriber).publishers, 1);
        must(stamped_is_whole(held.data));
        must_equal(((const struct stamped *)held.data)->number, 1);
        must_equal(shmd_release(subscriber, &held), 0);
        tally_take_all(&tally, subscriber);
        say('c');
        hear('n');
        must_equal(tally_take_all(&tally, subscriber), 1);
        say('e');
        hear('e');
        shmd_close(bus);
}

struct scene {
        struct shmd *bus;
        struct shmd_publisher *publisher;
        struct role *reader;
        struct victim victim;
        uint64_t n_published;
};

static void publish_more(struct scene *scene, unsigned n)
{
        while (n--)
                stamped_publish(scene->publisher, ++scene->n_published);
}

/* A publisher that has come back, whose reader holds a sample and has not. */
static void scene_open(struct scene *scene)
{
        const struct member *member;

        let_somebody_in(NULL);
        scene->bus = broker_connect();
        scene->publisher = stamped_advertise(
                scene->bus, SERVICE, (struct shmd_publisher_options){.depth = 2, .loans = 1});
        scene->reader = role_start("reader", hold_for_long, NULL);
        role_await(scene->reader, 'r');
        publish_more(scene, 1);
        role_tell(scene->reader, 't');
        role_await(scene->reader, 'h');
        until(n_subscribers(scene->publisher) == 1);
        member = scene->publisher->doorbell.members[0];
        scene->victim = (struct victim){
                .connection = member->block->connection,
                .id = member->peer.id,
                .publisher = {.id = scene->publisher->id,
                              .connection = scene->bus->id,
                              .inode = segment_inode(scene->publisher->memory.fd),
                              .board = member->board->id,
                              .pid = getpid()},
        };
        role_stop(scene->reader);
        broker_kill();
        let_somebody_in(NULL);
        until_settled(scene->bus, NULL);
        must_equal(n_subscribers(scene->publisher), 1);
}

/* The reader comes back, and finds everything as it was. */
static void scene_go_on(struct scene *scene)
{
        publish_more(scene, 1000);
        must_equal(n_subscribers(scene->publisher), 1);
        role_continue(scene->reader);
        role_tell(scene->reader, 'c');
        role_await(scene->reader, 'c');
        publish_more(scene, 1);
        must_equal(n_subscribers(scene->publisher), 1);
}

static void scene_close(struct scene *scene)
{
        role_tell(scene->reader, 'n');
        role_await(scene->reader, 'e');
        must_equal(n_subscribers(scene->publisher), 1);
        role_tell(scene->reader, 'e');
        role_finish(scene->reader);
        until(n_subscribers(scene->publisher) == 0);
        shmd_close(scene->bus);
}

static void say_that_all_is_closed(void *argument)
{
        const struct victim *victim = argument;
        int fd;

        become_somebody();
        fd = raw_resume(victim->connection);
        impostor_say_resumed(fd);
        close(fd);
}

static void nobody_can_say_that_another_has_closed(void **state)
{
        struct scene scene = {0};

        scene_open(&scene);
        role_finish(role_start("somebody", say_that_all_is_closed, &scene.victim));
        scene_go_on(&scene);
        scene_close(&scene);
}

static void subscribe_as_another(void *argument)
{
        const struct victim *victim = argument;
        static _Alignas(8) unsigned char bytes[2][PROTOCOL_MESSAGE_MAX];
        struct message_subscribe *subscribe = (void *)bytes[0];
        struct message_known *list = (void *)bytes[1];
        struct raw_reader reader;

        become_somebody();
        reader.fd = raw_resume(victim->connection);
        reader.block = raw_block(victim->connection);
        must_equal(pipe2(reader.ends, O_CLOEXEC | O_NONBLOCK), 0);
        list->peers[0] = victim->publisher;
        list->owner = victim->id;
        list->count = 1;
        wire_begin(list, MESSAGE_KNOWN, sizeof(*list) + sizeof(list->peers[0]), 0);
        raw_send(reader.fd, list, list->header.size, NULL, 0);
        raw_fill_subscribe(subscribe, SERVICE);
        subscribe->subscription = victim->id;
        subscribe->flags |= SUBSCRIBE_RESUME;
        impostor_fill_type(&subscribe->type, subscribe->fields);
        wire_begin(subscribe, MESSAGE_SUBSCRIBE,
                   sizeof(*subscribe) + subscribe->type.n_fields * sizeof(subscribe->fields[0]), 2);
        must_equal(
                raw_request(reader.fd, subscribe, (int[]){reader.block, reader.ends[1]}, 2, NULL),
                0);
        impostor_say_resumed(reader.fd);
        impostor_has_met_nobody(reader.fd);
        say('r');
        hear('e');
        impostor_has_met_nobody(reader.fd);
        raw_reader_close(&reader);
}

static void who_subscribes_under_anothers_id_meets_nobody_who_knows_him(void **state)
{
        struct scene scene = {0};
        struct role *role;

        scene_open(&scene);
        role = role_start("somebody", subscribe_as_another, &scene.victim);
        role_await(role, 'r');
        scene_go_on(&scene);
        role_tell(role, 'e');
        role_finish(role);
        broker_settle(scene.bus);
        scene_close(&scene);
}

/* Publishes, and comes back late to the next broker. */
static void publish_for_long(void *argument)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});

        say('r');
        hear('p');
        stamped_publish(publisher, 1);
        say('p');
        hear('c');
        until_settled(bus, NULL);
        must_equal(state_of(bus).stranded, 0);
        must_equal(n_subscribers(publisher), 1);
        stamped_publish(publisher, 2);
        say('c');
        hear('e');
        shmd_close(bus);
}

static void resume_as_another(void *argument)
{
        become_somebody();
        impostor_resume(SERVICE, argument);
}

static void who_resumes_under_anothers_id_keeps_nobody_out(void **state)
{
        struct shmd_subscriber *subscriber;
        const struct attachment *attachment;
        struct role *publisher, *role;
        struct victim victim = {0};
        struct tally tally = {0};
        struct shmd *bus;

        let_somebody_in(NULL);
        bus = broker_connect();
        publisher = role_start("publisher", publish_for_long, NULL);
        role_await(publisher, 'r');
        subscriber = stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        role_tell(publisher, 'p');
        role_await(publisher, 'p');
        attachment = subscriber->attachments[0];
        victim.id = attachment->peer.id;
        victim.connection = attachment->process->connection;
        role_stop(publisher);
        broker_kill();
        let_somebody_in(NULL);
        until_settled(bus, NULL);
        role = role_start("somebody", resume_as_another, &victim);
        role_await(role, 'r');
        must_equal(status_of(subscriber).publishers, 1);
        role_continue(publisher);
        role_tell(publisher, 'c');
        role_await(publisher, 'c');
        must_equal(tally_take_all(&tally, subscriber), 2);
        must_equal(tally.lost, 0);
        role_tell(role, 'e');
        role_finish(role);
        broker_settle(bus);
        must_equal(status_of(subscriber).publishers, 1);
        role_tell(publisher, 'e');
        role_finish(publisher);
        shmd_close(bus);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(nobody_can_say_that_another_has_closed),
                system_test(who_subscribes_under_anothers_id_meets_nobody_who_knows_him),
                system_test(who_resumes_under_anothers_id_keeps_nobody_out),
        };

        harness_init(argc, argv);
        if (!can_be_somebody()) {
                puts("skipped: only root can be two users");
                return 77;
        }
        return cmocka_run_group_tests_name("system-identity-resume", tests, NULL, NULL);
}
