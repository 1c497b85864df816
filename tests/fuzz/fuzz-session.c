/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz-session.c - whole sessions for a fuzzer: what several clients do to one broker, one deed
 * after the other.
 *
 * An input is a list of deeds. Each begins with a byte that says which (its low five bits; bit 7:
 * without a turn of the loop afterwards) and one that says whose (its low three bits), followed by
 * what the deed needs; where the input ends, zeros follow. So every input is a play, most of what
 * is said in it is valid, and what is said twice is the same: there are few names, ids and types.
 *
 * A message is made as an honest client would make it, then changed as its last three bytes say:
 *   descriptors  0: as it should be; 1: none; 2: one more; 3: as many as the kernel passes;
 *                else thing (n / 4) in place of the first, or of the second if n is odd
 *   spoil        0: nothing; 1: cut short; 2: longer; else a byte is changed, the next two bytes
 *                say where and how
 *   times        how often it is sent, less one
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <shmd/shmd.h>

#include "layout.h"
#include "session-rig.h"
#include "type.h"
#include "wire.h"

#define IDS       8u
#define NAMES     6u
#define TYPES     2u
#define PEERS_MAX 8u /* in a KNOWN */
#define DEEDS_MAX 128u
#define TIMES_MAX 96u

enum deed {
        DEED_HELLO, /* connects */
        DEED_SUBSCRIBE,
        DEED_ADVERTISE,
        DEED_READ,
        DEED_ACKNOWLEDGE,
        DEED_UNSUBSCRIBE,
        DEED_UNADVERTISE,
        DEED_REINTRODUCE,
        DEED_LIST,
        DEED_KNOWN,
        DEED_RESUMED,
        DEED_FORGOTTEN,
        DEED_OTHER, /* any type of message */
        DEED_BYTES, /* no message at all */
        DEED_CONNECT,
        DEED_CLOSE,
        DEED_KILL,
        DEED_TURN,
        DEED_TIME,
        DEED_WRITE, /* into its own memory */
        DEED_FAIL,  /* the broker's sends */
        DEED_FULL,  /* a turn without a free descriptor */
        N_DEEDS,
};

struct input {
        const uint8_t *at, *end;
};

/* The longest message, and what makes it too long. */
static union {
        struct message header;
        struct message_hello hello;
        struct message_advertise advertise;
        struct message_subscribe subscribe;
        struct message_leave leave;
        struct message_acknowledge acknowledge;
        struct message_reintroduce reintroduce;
        struct message_list list;
        struct message_known known;
        struct message_pair pair;
        _Alignas(8) unsigned char bytes[PROTOCOL_MESSAGE_MAX + 64];
} message;

struct pose {
        double x, y;
        uint32_t n;
};
SHMD_TYPE(pose_type, struct pose, SHMD_FIELD(struct pose, x), SHMD_FIELD(struct pose, y),
          SHMD_FIELD(struct pose, n));

/* What descriptors the message should have. */
static int right_fds[2];
static unsigned n_right_fds;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned next(struct input *input)
{
        return input->at < input->end ? *input->at++ : 0;
}

/* ---- names, ids, types -------------------------------------------------------------------- */

/* Two of them have the same tag, as publishers of a service must not. */
static uint64_t id_of(unsigned n)
{
        n %= IDS;
        return (uint64_t)(n + 1) << 32 | (n == IDS - 1 ? 1 : n + 1);
}

static void put_name(char *name, unsigned n)
{
        static const char *const names[NAMES] = {"a", "b", "c/d", "e.f", "", "g"};

        strcpy(name, names[n % NAMES]);
        /* As long as it may be. */
        if (n % NAMES == 4)
                memset(name, 'x', PROTOCOL_SERVICE_SIZE - 1);
}

/* The bytes that the fields take. */
static size_t put_type(struct message_type_head *head, struct message_field *fields, unsigned n)
{
        claim(type_pack(head, fields, n % TYPES ? &pose_type : &shmd_bytes) == 0);
        return head->n_fields * sizeof(*fields);
}

static uint64_t connection_of(const struct rig_client *client, unsigned n)
{
        /* Its own, or another's. */
        return RIG_CONNECTION + (n ? n % RIG_CLIENTS : (unsigned)(client - rig_clients));
}

static uint64_t inode_of(int fd)
{
        struct stat status;

        return fstat(fd, &status) < 0 ? 0 : status.st_ino;
}

/* ---- sending ------------------------------------------------------------------------------ */

static void send_message(struct rig_client *client, struct input *input, size_t size)
{
        int fds[PACKET_FDS_MAX];
        unsigned n_fds = n_right_fds, how = next(input), spoil = next(input);
        unsigned times = 1 + next(input) % TIMES_MAX;

        memcpy(fds, right_fds, sizeof(right_fds));
        if (how == 1) {
                n_fds = 0;
        } else if (how == 2) {
                fds[n_fds++] = rig_thing(client, THING_NULL);
        } else if (how == 3) {
                for (n_fds = 0; n_fds < PACKET_FDS_MAX; n_fds++)
                        fds[n_fds] = rig_thing(client, n_fds % THING_OWN_SOCKET);
        } else if (how) {
                unsigned place = how % 2 && n_fds > 1;

                fds[place] = rig_thing(client, how / 4 % N_THINGS);
                n_fds += !n_fds;
        }
        if (spoil == 1) {
                size -= 1 + next(input) % size;
        } else if (spoil == 2) {
                memset(message.bytes + size, 0, 64);
                size += 1 + next(input) % 64;
        } else if (spoil) {
                /* Heads are more interesting than names. */
                size_t at = (next(input) << 1 | (spoil & 1)) % size;

                message.bytes[at] ^= (unsigned char)(1 + next(input) % 255);
        }
        while (times--)
                if (!rig_send(client, &message, size, fds, n_fds))
                        return;
}

static void send_of(struct rig_client *client, struct input *input, enum message_type type,
                    size_t size, bool is_request)
{
        wire_begin(&message, type, size, is_request);
        send_message(client, input, size);
}

/* ---- messages ----------------------------------------------------------------------------- */

/* Bits 0-1 user, 2 NO_MEMBARRIER, 3 NO_PROC, 4 RESUME, 5 version 1; then whose connection. */
static void say_hello(struct rig_client *client, struct input *input)
{
        unsigned how = next(input);
        bool is_old = how & 32;

        if (client->fd < 0)
                rig_connect(client, how & 3);
        message.hello = (struct message_hello){
                .magic = PROTOCOL_MAGIC,
                .version = is_old ? 1 : PROTOCOL_VERSION,
                .min_version = PROTOCOL_MIN_VERSION,
                .flags = how >> 2 & (is_old ? 3u : 7u),
                .connection = connection_of(client, next(input)),
        };
        send_of(client, input, MESSAGE_HELLO, sizeof(message.hello), true);
}

/* Id, name and type, shape and copy; then flags: 1 RESUME, 2 two seats, 4 more holds. */
static void advertise(struct rig_client *client, struct input *input)
{
        unsigned id = next(input), what = next(input), shape = next(input), flags = next(input);
        struct message_advertise *say = &message.advertise;
        size_t size = sizeof(*say);

        memset(say, 0, sizeof(*say));
        say->publisher = id_of(id);
        say->geometry = *rig_geometry(shape);
        say->loans = 1;
        say->max_subscribers = flags & 2 ? 2 : 1;
        say->holds = flags & 4 ? 8 : 2;
        say->flags = flags & 1;
        put_name(say->service, what);
        size += put_type(&say->type, say->fields, what >> 4);
        if (what >> 4 & 1)
                say->geometry.payload_max = sizeof(struct pose);
        right_fds[0] = rig_segment(client->user, shape, shape >> 4);
        n_right_fds = 1;
        send_of(client, input, MESSAGE_ADVERTISE, size, true);
}

/* Id, name and type, flags (SUBSCRIBE_..., so that 3 is a first one's), row and copy, wishes. */
static void subscribe(struct rig_client *client, struct input *input)
{
        unsigned id = next(input), what = next(input), flags = next(input), row = next(input);
        unsigned wish = next(input);
        struct message_subscribe *say = &message.subscribe;
        size_t size = sizeof(*say);

        memset(say, 0, sizeof(*say));
        say->subscription = id_of(id);
        /* Most want both. */
        say->flags = (flags & 15) ^ 3;
        say->holds = wish & 1 ? 8 : 2;
        say->min_depth = wish >> 1 & 3;
        say->history = wish >> 3;
        say->block = flags >> 4 & 3;
        say->row_offset = (uint32_t)(sizeof(struct block_header) + (row & 15) * BLOCK_ROW_LINE);
        put_name(say->service, what);
        size += put_type(&say->type, say->fields, what >> 4);
        n_right_fds = 0;
        if (say->flags & SUBSCRIBE_BLOCK)
                right_fds[n_right_fds++] = rig_block(client->user, row >> 4);
        if (say->flags & SUBSCRIBE_CHANNEL)
                right_fds[n_right_fds++] = rig_pipe();
        send_of(client, input, MESSAGE_SUBSCRIBE, size, true);
}

static void leave(struct rig_client *client, struct input *input, enum message_type type)
{
        message.leave.id = id_of(next(input));
        send_of(client, input, type, sizeof(message.leave), false);
}

/* 0: all that was read. */
static void acknowledge(struct rig_client *client, struct input *input)
{
        unsigned n = next(input);

        message.acknowledge.count = n ? n : client->n_added;
        message.acknowledge.unused = 0;
        if (!n)
                client->n_added = 0;
        send_of(client, input, MESSAGE_ACKNOWLEDGE, sizeof(message.acknowledge), false);
}

static void reintroduce(struct rig_client *client, struct input *input)
{
        unsigned which = next(input), ids = next(input);

        message.reintroduce = (struct message_reintroduce){
                .publisher = id_of(ids), .subscription = id_of(ids >> 4), .which = 1 + which % 2};
        if (which & 2) {
                message.reintroduce.publisher = client->publisher;
                message.reintroduce.subscription = client->subscription;
        }
        message.reintroduce.pid = which & 4 ? INT_MAX : getpid();
        send_of(client, input, MESSAGE_REINTRODUCE, sizeof(message.reintroduce), false);
}

static void list(struct rig_client *client, struct input *input)
{
        unsigned what = next(input);

        memset(&message.list, 0, sizeof(message.list));
        message.list.skip = what >> 4;
        if (what & 15)
                put_name(message.list.service, what & 15);
        send_of(client, input, MESSAGE_LIST, sizeof(message.list), true);
}

/* Owner; how many; for each: id and whose, then what it was: a segment's or block's place, how
 * much of the record is right, start. */
static void tell_known(struct rig_client *client, struct input *input)
{
        unsigned owner = next(input), n = 1 + next(input) % PEERS_MAX;

        memset(&message.known, 0, sizeof(message.known));
        message.known.owner = id_of(owner);
        message.known.count = n;
        for (unsigned i = 0; i < n; i++) {
                unsigned who = next(input), what = next(input);
                struct message_known_peer *peer = &message.known.peers[i];
                const struct rig_client *other = &rig_clients[(who >> 4) % RIG_CLIENTS];

                *peer = (struct message_known_peer){
                        .id = id_of(who),
                        .connection = RIG_CONNECTION + (who >> 4) % RIG_CLIENTS,
                        .board = what & 0x80     ? 0
                                 : client->board ? client->board
                                                 : 1,
                        .start = what & 3,
                        .pid = what & 0x40 ? INT_MAX : getpid(),
                };
                if (what & 0x20)
                        peer->inode = inode_of(rig_block(other->user, what));
                else if (!(what & 0x10))
                        peer->inode = inode_of(rig_segment(other->user, what >> 2, what));
        }
        send_of(client, input, MESSAGE_KNOWN,
                sizeof(message.known) + n * sizeof(struct message_known_peer), false);
}

static void forget(struct rig_client *client, struct input *input)
{
        unsigned ids = next(input);

        message.pair =
                (struct message_pair){.publisher = id_of(ids), .subscription = id_of(ids >> 4)};
        send_of(client, input, MESSAGE_FORGOTTEN, sizeof(message.pair), false);
}

static void say_other(struct rig_client *client, struct input *input)
{
        unsigned type = next(input) % (MESSAGE_TYPES_END + 2), size = next(input) * 2;

        memset(&message, 0, sizeof(message.header) + size);
        send_of(client, input, (enum message_type)type, sizeof(message.header) + size,
                next(input) & 1);
}

static void send_bytes(struct rig_client *client, struct input *input)
{
        unsigned size = next(input) % 65;

        /* None at all is a packet too; so is one of more than any message has. */
        for (unsigned i = 0; i < size && i < 64; i++)
                message.bytes[i] = (unsigned char)next(input);
        rig_send(client, &message, size < 64 ? size : sizeof(message), NULL, 0);
}

/* ---- deeds that are no messages ------------------------------------------------------------ */

static void write_words(const struct rig_client *client, struct input *input)
{
        size_t n_words;
        uint64_t *words = rig_words(client->user, next(input), &n_words);
        size_t at = next(input) | next(input) << 8;
        unsigned n = 1 + next(input) % 64, value = next(input);

        for (unsigned i = 0; i < n; i++)
                words[(at + i) % n_words] = value & 0x80 ? ~(uint64_t)0 - i : value * (i + 1);
}

static void fail_sends(struct input *input)
{
        static const int codes[] = {-EAGAIN, -ENOMEM, -ETOOMANYREFS, -EPIPE, -EACCES};
        unsigned what = next(input);

        rig_fail_sends(codes[what % (sizeof(codes) / sizeof(codes[0]))], what >> 4);
}

static void act(enum deed deed, struct rig_client *client, struct input *input)
{
        n_right_fds = 0;
        switch (deed) {
        case DEED_HELLO:
                say_hello(client, input);
                break;
        case DEED_SUBSCRIBE:
                subscribe(client, input);
                break;
        case DEED_ADVERTISE:
                advertise(client, input);
                break;
        case DEED_READ:
                rig_read(client);
                break;
        case DEED_ACKNOWLEDGE:
                acknowledge(client, input);
                break;
        case DEED_UNSUBSCRIBE:
                leave(client, input, MESSAGE_UNSUBSCRIBE);
                break;
        case DEED_UNADVERTISE:
                leave(client, input, MESSAGE_UNADVERTISE);
                break;
        case DEED_REINTRODUCE:
                reintroduce(client, input);
                break;
        case DEED_LIST:
                list(client, input);
                break;
        case DEED_KNOWN:
                tell_known(client, input);
                break;
        case DEED_RESUMED:
                send_of(client, input, MESSAGE_RESUMED, sizeof(struct message_resumed), true);
                break;
        case DEED_FORGOTTEN:
                forget(client, input);
                break;
        case DEED_OTHER:
                say_other(client, input);
                break;
        case DEED_BYTES:
                send_bytes(client, input);
                break;
        case DEED_CONNECT:
                rig_connect(client, next(input));
                break;
        case DEED_CLOSE:
                rig_close(client);
                break;
        case DEED_KILL:
                rig_kill(client);
                break;
        case DEED_TURN:
                rig_turn();
                break;
        case DEED_TIME:
                rig_let_time_pass();
                break;
        case DEED_WRITE:
                write_words(client, input);
                break;
        case DEED_FAIL:
                fail_sends(input);
                break;
        case DEED_FULL:
                rig_turn_without_descriptors();
                break;
        case N_DEEDS:
                break;
        }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
        (void)argc;
        (void)argv;
        rig_init();
        return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct input input = {.at = data, .end = data + size};

        memset(&message, 0, sizeof(message));
        rig_begin();
        for (unsigned n = 0; n < DEEDS_MAX && input.at < input.end; n++) {
                unsigned deed = next(&input);
                struct rig_client *client = &rig_clients[(next(&input) & 7) % RIG_CLIENTS];

                act((deed & 31) % N_DEEDS, client, &input);
                if (!(deed & 0x80))
                        rig_turn();
        }
        rig_end();
        return 0;
}
