/* SPDX-License-Identifier: Apache-2.0 */
/* session-rig.c - the broker, its clients, and what is left of them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <shmd/broker.h>

#include "layout.h"
#include "passing.h"
#include "process.h"
#include "ring.h"
#include "segment.h"
#include "server.h"
#include "session.h"
#include "session-rig.h"
#include "util.h"
#include "wire.h"

/* Turns of the loop in which a broker that is left alone has to come to rest. */
#define TURNS_MAX 400u
/* Hundredths of a second for what threads close. */
#define LATE_MAX 1000u
/* Whose memory there is: of those that are let in. */
#define OWNERS 2u

struct memory {
        int fd;
        uint64_t *words;
        size_t size;
};

struct rig_client rig_clients[RIG_CLIENTS];

static uv_loop_t loop;
static struct server *server;
static struct memory segments[OWNERS][RIG_SHAPES][RIG_COPIES], blocks[OWNERS][RIG_COPIES];
static struct ring_geometry geometries[RIG_SHAPES];
static int things[N_THINGS], pipe_ends[2];
static char directory[64], path[80];
static pid_t owner; /* of the directory */
static uid_t uids[RIG_USERS];
static uint64_t last_random;
static unsigned n_sends_to_fail, n_drops, n_sessions;
static int send_code;
static unsigned n_fds_before, n_mappings_before;
static bool has_closed, is_loud, is_warm;

/* ---- what the kernel would say ----------------------------------------------------------- */

int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __wrap_process_open(int socket_fd, const struct ucred *who);
uint64_t __wrap_random_id(void);
int __real_socket_send(int fd, const void *message, size_t size, const int *fds, unsigned n_fds);
int __wrap_socket_send(int fd, const void *message, size_t size, const int *fds, unsigned n_fds);

/* The client at the other end of an accepted socket. */
static struct rig_client *client_of(int fd)
{
        struct sockaddr_un name = {.sun_family = 0};
        socklen_t size = sizeof(name);

        if (getpeername(fd, (struct sockaddr *)&name, &size) < 0)
                return NULL;
        for (unsigned i = 0; i < RIG_CLIENTS; i++)
                if (memcmp(rig_clients[i].name, name.sun_path, sizeof(rig_clients[i].name)) == 0)
                        return &rig_clients[i];
        return NULL;
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
        const struct rig_client *client;
        int code = __real_getsockopt(fd, level, name, value, size);

        if (code < 0 || level != SOL_SOCKET || name != SO_PEERCRED)
                return code;
        /* One that has been replaced in the meantime is nobody in particular. */
        client = client_of(fd);
        if (client)
                ((struct ucred *)value)->uid = uids[client->user];
        return 0;
}

int __wrap_process_open(int socket_fd, const struct ucred *who)
{
        const struct rig_client *client = client_of(socket_fd);
        int fd;

        (void)who;
        if (!client)
                return -ESRCH;
        fd = fcntl(client->death, F_DUPFD_CLOEXEC, 0);
        return fd < 0 ? -errno : fd;
}

uint64_t __wrap_random_id(void)
{
        last_random++;
        return last_random << 32 | last_random;
}

int __wrap_socket_send(int fd, const void *message, size_t size, const int *fds, unsigned n_fds)
{
        claim(wire_check(message, size, WIRE_FROM_BROKER) == 0);
        if (n_sends_to_fail) {
                n_sends_to_fail--;
                return send_code;
        }
        return __real_socket_send(fd, message, size, fds, n_fds);
}

void rig_fail_sends(int code, unsigned n)
{
        send_code = code;
        n_sends_to_fail = n;
}

static void write_line(void *user, int level, const char *text)
{
        (void)user;
        if (is_loud)
                fprintf(stderr, "  broker: %s\n", text);
        n_drops += level <= SHMD_LOG_WARNING && strncmp(text, "dropped ", 8) == 0;
}

/* ---- memory and other descriptors --------------------------------------------------------- */

static struct memory make_memory(unsigned user, uint64_t size)
{
        struct segment segment = SEGMENT_NONE;

        claim(segment_create(&segment, "shmd-fuzz", size) == 0);
        /* AFL++ forks from here on. */
        claim(madvise(segment.base, size, MADV_DOFORK) == 0);
        /* Only root can give it away; else the other user's memory is refused as somebody's. */
        if (user && fchown(segment.fd, uids[user], (gid_t)-1) < 0)
                claim(errno == EPERM);
        return (struct memory){.fd = segment.fd, .words = segment.base, .size = size};
}

static int make_memfd(size_t allocated, size_t size, int seals)
{
        int fd = memfd_create("shmd-thing", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        claim(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
        claim(!allocated || posix_fallocate(fd, 0, (off_t)allocated) == 0);
        claim(fcntl(fd, F_ADD_SEALS, seals) == 0);
        return fd;
}

static void make_things(void)
{
        int seals = F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
        int ends[2];

        claim(pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK) == 0);
        claim(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        things[THING_UNSEALED] = make_memfd(BLOCK_SIZE, BLOCK_SIZE, 0);
        things[THING_SPARSE] = make_memfd(4096, BLOCK_SIZE, seals | F_SEAL_GROW);
        things[THING_SMALL] = make_memfd(4096, 4096, seals | F_SEAL_GROW);
        things[THING_GROWING] = make_memfd(BLOCK_SIZE, BLOCK_SIZE, seals);
        things[THING_READ_END] = pipe_ends[0];
        things[THING_WRITE_END] = pipe_ends[1];
        things[THING_EVENTFD] = eventfd(0, EFD_CLOEXEC);
        things[THING_SOCKET] = ends[0];
        things[THING_DIRECTORY] = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        things[THING_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
}

static void make_geometries(void)
{
        static const struct ring_wish wishes[RIG_SHAPES] = {
                {.payload_max = 64, .alignment = 8, .depth = 2, .n_chunks = 16},
                {.payload_max = 16, .alignment = 8, .depth = 1, .n_chunks = 8},
                {.payload_max = 4000, .alignment = 8, .depth = 3, .n_chunks = 5},
        };

        for (unsigned i = 0; i < RIG_SHAPES; i++)
                claim(ring_geometry_init(&geometries[i], &wishes[i]) == 0);
}

int rig_segment(unsigned user, unsigned shape, unsigned copy)
{
        return segments[user % OWNERS][shape % RIG_SHAPES][copy % RIG_COPIES].fd;
}

int rig_block(unsigned user, unsigned copy)
{
        return blocks[user % OWNERS][copy % RIG_COPIES].fd;
}

int rig_pipe(void)
{
        return pipe_ends[1];
}

int rig_thing(const struct rig_client *client, enum rig_thing thing)
{
        return thing == THING_OWN_SOCKET ? client->fd : things[thing];
}

const struct ring_geometry *rig_geometry(unsigned shape)
{
        return &geometries[shape % RIG_SHAPES];
}

static struct memory *memory_of(unsigned user, unsigned which)
{
        unsigned n = which % (RIG_SHAPES * RIG_COPIES + RIG_COPIES);

        if (n < RIG_COPIES)
                return &blocks[user % OWNERS][n];
        n -= RIG_COPIES;
        return &segments[user % OWNERS][n / RIG_COPIES][n % RIG_COPIES];
}

uint64_t *rig_words(unsigned user, unsigned which, size_t *n_words)
{
        const struct memory *memory = memory_of(user, which);

        *n_words = memory->size / sizeof(uint64_t);
        return memory->words;
}

/* ---- clients ----------------------------------------------------------------------------- */

void rig_connect(struct rig_client *client, unsigned user)
{
        struct sockaddr_un name = {.sun_family = AF_UNIX};
        socklen_t size = sizeof(name);

        rig_kill(client);
        client->death = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        client->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        claim(client->death >= 0 && client->fd >= 0);
        /* The kernel chooses a name of five letters. */
        claim(bind(client->fd, (struct sockaddr *)&name, sizeof(sa_family_t)) == 0);
        claim(getsockname(client->fd, (struct sockaddr *)&name, &size) == 0);
        memcpy(client->name, name.sun_path, sizeof(client->name));
        client->user = user % RIG_USERS;
        name = (struct sockaddr_un){.sun_family = AF_UNIX};
        memcpy(name.sun_path, path, strlen(path));
        claim(connect(client->fd, (struct sockaddr *)&name, sizeof(name)) == 0);
        n_sessions++;
}

void rig_close(struct rig_client *client)
{
        fd_close(&client->fd);
        client->n_added = 0;
}

void rig_kill(struct rig_client *client)
{
        if (client->death < 0)
                return;
        claim(eventfd_write(client->death, 1) == 0);
        rig_close(client);
        fd_close(&client->death);
}

bool rig_send(const struct rig_client *client, const void *message, size_t size, const int *fds,
              unsigned n_fds)
{
        return client->fd >= 0 && pass(client->fd, message, size, fds, n_fds) == 0;
}

static void take_note(struct rig_client *client, const struct message *message)
{
        const struct message_subscriber_added *subscriber = (const void *)message;
        const struct message_publisher_added *publisher = (const void *)message;

        if (message->type == MESSAGE_SUBSCRIBER_ADDED) {
                client->board = subscriber->board;
                client->publisher = subscriber->publisher;
                client->subscription = subscriber->peer.id;
        } else if (message->type == MESSAGE_PUBLISHER_ADDED) {
                client->board = publisher->board;
                client->publisher = publisher->peer.id;
                client->subscription = publisher->subscription;
        } else {
                return;
        }
        client->n_added++;
}

/* To somebody who looks at what an input does. */
static void tell(const struct rig_client *client, const struct message *message)
{
        const struct message_reply *reply = (const void *)message;
        bool has_text = message->type == MESSAGE_REPLY || message->type == MESSAGE_GOODBYE;

        if (is_loud)
                fprintf(stderr, "  client %u: %s %s\n", (unsigned)(client - rig_clients),
                        wire_name(message->type), has_text ? reply->text : "");
}

void rig_read(struct rig_client *client)
{
        static struct packet packet;
        int code;

        if (client->fd < 0)
                return;
        do {
                code = socket_receive(client->fd, &packet);
                if (code <= 0)
                        continue;
                claim(!packet.truncated && !packet.fds_truncated);
                claim(wire_check(packet.bytes, packet.size, WIRE_FROM_BROKER) == 0);
                claim(packet.n_fds == wire_n_fds(&packet.header));
                tell(client, &packet.header);
                take_note(client, &packet.header);
                packet_close(&packet);
        } while (code > 0 || code == -ECONNRESET);
}

/* ---- the broker -------------------------------------------------------------------------- */

/* What has to be so whenever the loop has had a turn. */
static void check_books(void)
{
        uint32_t n_in_flight = 0, n_services = 0;

        claim(list_empty(&server->dirty) && list_empty(&server->ending));
        list_for_each (&server->sessions, link) {
                const struct session *session = list_entry(link, struct session, link);

                n_in_flight += session->n_unacknowledged;
                claim(session->n_unacknowledged <= PROTOCOL_CREDIT);
                claim(session->n_replies <= SESSION_REPLIES_MAX);
                claim(session->state != SESSION_GHOST || !list_empty(&session->ghosts));
        }
        claim(n_in_flight == server->n_in_flight);
        for (size_t i = 0; i < server->registry.n_services; i++) {
                const struct service *service = server->registry.services[i];

                n_services += service->n_publications || service->n_subscriptions;
                claim(!i || strcmp(server->registry.services[i - 1]->name, service->name) < 0);
        }
        claim(n_services == server->registry.n_services);
        claim(n_drops <= n_sessions);
}

void rig_turn(void)
{
        uv_run(&loop, UV_RUN_NOWAIT);
        check_books();
}

void rig_turn_without_descriptors(void)
{
        struct rlimit before, none;

        claim(getrlimit(RLIMIT_NOFILE, &before) == 0);
        none = (struct rlimit){.rlim_cur = 3, .rlim_max = before.rlim_max};
        claim(setrlimit(RLIMIT_NOFILE, &none) == 0);
        rig_turn();
        claim(setrlimit(RLIMIT_NOFILE, &before) == 0);
}

static bool is_at_rest(void)
{
        struct pollfd entry = {.fd = uv_backend_fd(&loop), .events = POLLIN};

        return poll(&entry, 1, 0) == 0;
}

/* Lets it work until nothing more comes: it must not go on for ever. */
static void settle(void)
{
        unsigned n = 0;

        do {
                claim(n++ < TURNS_MAX);
                rig_turn();
        } while (!is_at_rest());
}

void rig_let_time_pass(void)
{
        uv_timer_t *timers[] = {&server->retry_timer, &server->ghost_timer, &server->grace_timer,
                                &server->accept_timer};

        for (unsigned i = 0; i < sizeof(timers) / sizeof(timers[0]); i++)
                if (uv_is_active((uv_handle_t *)timers[i]))
                        uv_timer_start(timers[i], timers[i]->timer_cb, 0,
                                       uv_timer_get_repeat(timers[i]));
        rig_turn();
}

static bool has_timer(void)
{
        return uv_is_active((uv_handle_t *)&server->retry_timer) ||
               uv_is_active((uv_handle_t *)&server->ghost_timer) ||
               uv_is_active((uv_handle_t *)&server->grace_timer) ||
               uv_is_active((uv_handle_t *)&server->accept_timer);
}

static void on_closed(struct server *closed)
{
        (void)closed;
        has_closed = true;
}

/* Open descriptors and mappings of shared memory; as a list too, if asked for. */
static void count(unsigned *n_fds, unsigned *n_mappings, bool tell)
{
        DIR *fds = opendir("/proc/self/fd");
        FILE *maps = fopen("/proc/self/maps", "re");
        const struct dirent *entry;
        char line[512];
        ssize_t n;

        *n_fds = *n_mappings = 0;
        claim(fds && maps);
        while ((entry = readdir(fds))) {
                ++*n_fds;
                n = tell ? readlinkat(dirfd(fds), entry->d_name, line, sizeof(line)) : 0;
                if (n > 0)
                        fprintf(stderr, "  %s -> %.*s\n", entry->d_name, (int)n, line);
        }
        while (fgets(line, sizeof(line), maps))
                *n_mappings += strstr(line, "/memfd:shmd") != NULL;
        closedir(fds);
        fclose(maps);
}

/* On a machine that has more to do than it can, the closer's threads may be late. */
static void expect_nothing_left(void)
{
        unsigned n_fds, n_mappings;

        for (unsigned i = 0; i < LATE_MAX; i++) {
                count(&n_fds, &n_mappings, false);
                if (n_fds == n_fds_before && n_mappings == n_mappings_before)
                        return;
                poll(NULL, 0, 10);
        }
        fprintf(stderr, "%u descriptors and %u mappings before, %u and %u now:\n", n_fds_before,
                n_mappings_before, n_fds, n_mappings);
        count(&n_fds, &n_mappings, true);
        abort();
}

void rig_begin(void)
{
        struct shmd_broker_options options = {.size = sizeof(options),
                                              .socket = path,
                                              .uids = &uids[1],
                                              .n_uids = 1,
                                              .log = write_line};

        for (unsigned i = 0; i < RIG_COPIES + RIG_SHAPES * RIG_COPIES; i++)
                for (unsigned user = 0; user < OWNERS; user++) {
                        const struct memory *memory = memory_of(user, i);

                        memset(memory->words, 0, memory->size);
                }
        for (unsigned i = 0; i < RIG_CLIENTS; i++)
                rig_clients[i] = (struct rig_client){.fd = -1, .death = -1};
        count(&n_fds_before, &n_mappings_before, false);
        last_random = 0x100;
        n_sends_to_fail = n_drops = n_sessions = 0;
        has_closed = false;
        server = calloc(1, sizeof(*server));
        claim(server);
        server->loop = &loop;
        /* What an input that was cut short has left would make this one another's successor. */
        unlink(path);
        claim(server_open(server, &options) == 0);
}

void rig_end(void)
{
        n_sends_to_fail = 0;
        for (unsigned i = 0; i < RIG_CLIENTS; i++)
                rig_kill(&rig_clients[i]);
        settle();
        for (unsigned n = 0; has_timer(); n++) {
                claim(n < 4);
                rig_let_time_pass();
                settle();
        }
        claim(list_empty(&server->sessions) && list_empty(&server->retrying));
        claim(server->registry.n_services == 0 && server->n_in_flight == 0);
        claim(uv_backend_timeout(&loop) == -1);
        server_close(server, on_closed);
        while (uv_run(&loop, UV_RUN_NOWAIT))
                ;
        claim(has_closed);
        server_deinit(server);
        free(server);
        server = NULL;
        /* The very first makes what the C library and libuv keep. */
        if (is_warm)
                expect_nothing_left();
        is_warm = true;
}

/* ---- once -------------------------------------------------------------------------------- */

static void clean_up(void)
{
        char inner[80];

        if (getpid() != owner)
                return;
        snprintf(inner, sizeof(inner), "%s/shmd", directory);
        unlink(path);
        rmdir(inner);
        rmdir(directory);
}

void rig_init(void)
{
        signal(SIGPIPE, SIG_IGN);
        is_loud = getenv("FUZZ_LOUD") != NULL;
        snprintf(directory, sizeof(directory), "/tmp/shmd-fuzz-XXXXXX");
        claim(mkdtemp(directory));
        snprintf(path, sizeof(path), "%s/shmd/control", directory);
        owner = getpid();
        atexit(clean_up);
        uids[0] = geteuid();
        uids[1] = geteuid() + 4711;
        uids[2] = geteuid() + 4712;
        make_geometries();
        make_things();
        for (unsigned user = 0; user < OWNERS; user++)
                for (unsigned copy = 0; copy < RIG_COPIES; copy++) {
                        blocks[user][copy] = make_memory(user, BLOCK_SIZE);
                        for (unsigned shape = 0; shape < RIG_SHAPES; shape++)
                                segments[user][shape][copy] =
                                        make_memory(user, geometries[shape].size);
                }
        claim(uv_loop_init(&loop) == 0);
        rig_begin();
        rig_end();
}
