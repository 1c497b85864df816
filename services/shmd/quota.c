/* SPDX-License-Identifier: Apache-2.0 */
/* quota.c - accounts, charges, and limits as they are written on a command line. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <shmd/broker.h>

#include "access.h"
#include "error.h"
#include "quota.h"
#include "util.h"

static const struct {
        const char *name;
        size_t offset; /* in struct shmd_quota */
        uint64_t usual;
} kinds[QUOTA_KINDS] = {
        [QUOTA_SESSIONS] = {"sessions", offsetof(struct shmd_quota, sessions), 256},
        [QUOTA_SERVICES] = {"services", offsetof(struct shmd_quota, services), 1024},
        [QUOTA_SEGMENTS] = {"segments", offsetof(struct shmd_quota, segments), 1024},
        [QUOTA_BYTES] = {"bytes", offsetof(struct shmd_quota, bytes), 0},
        [QUOTA_SUBSCRIPTIONS] = {"subscriptions", offsetof(struct shmd_quota, subscriptions), 1024},
        [QUOTA_PAIRS] = {"pairs", offsetof(struct shmd_quota, pairs), 65536},
        [QUOTA_LISTED] = {"listed peers", offsetof(struct shmd_quota, pairs),
                          QUOTA_LISTED_TIMES * 65536},
        [QUOTA_INTRODUCTIONS] = {"introductions", offsetof(struct shmd_quota, introductions), 1024},
        [QUOTA_CONNECTS] = {"connects", offsetof(struct shmd_quota, connects), 100},
        [QUOTA_SEATS] = {"seats", offsetof(struct shmd_quota, seats), 75},
};

/* ---- accounts --------------------------------------------------------------------------- */

static void account_init(struct quota_account *account, const struct quota *quota, uid_t uid,
                         bool is_exempt)
{
        char text[4096];
        struct passwd entry, *found = NULL;

        memset(account, 0, sizeof(*account));
        account->quota = quota;
        account->uid = uid;
        account->is_exempt = is_exempt;
        /* Now, since a directory of users may take its time, and the broker has none later. */
        if (getpwuid_r(uid, &entry, text, sizeof(text), &found) == 0 && found)
                snprintf(account->name, sizeof(account->name), "%s", found->pw_name);
}

static const char *option_of(enum quota_kind kind)
{
        return kinds[kind == QUOTA_LISTED ? QUOTA_PAIRS : kind].name;
}

/* Half of it: one user's samples leave room for everything else. */
static uint64_t usual_bytes(void)
{
        long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

        return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / 2 : SHMD_NO_LIMIT;
}

static void set_limits(struct quota *quota, const struct shmd_quota *limits, uint32_t in_flight_max)
{
        for (unsigned kind = 0; kind < QUOTA_KINDS; kind++) {
                uint64_t wanted;

                memcpy(&wanted, (const char *)limits + kinds[kind].offset, sizeof(wanted));
                quota->max[kind] = wanted ? wanted : kinds[kind].usual;
        }
        if (quota->max[QUOTA_PAIRS] > SHMD_NO_LIMIT / QUOTA_LISTED_TIMES)
                quota->max[QUOTA_LISTED] = SHMD_NO_LIMIT;
        else
                quota->max[QUOTA_LISTED] = quota->max[QUOTA_PAIRS] * QUOTA_LISTED_TIMES;
        if (!limits->bytes)
                quota->max[QUOTA_BYTES] = usual_bytes();
        if (!limits->introductions && quota->max[QUOTA_INTRODUCTIONS] > in_flight_max / 4)
                quota->max[QUOTA_INTRODUCTIONS] = in_flight_max / 4 ? in_flight_max / 4 : 1;
}

int quota_init(struct quota *quota, const struct shmd_quota *limits, const struct access *access,
               uint32_t in_flight_max)
{
        set_limits(quota, limits, in_flight_max);
        quota->accounts = calloc(access->n_uids + 2, sizeof(*quota->accounts));
        if (!quota->accounts)
                return error_set(-ENOMEM, "no memory for the accounts of %u users", access->n_uids);
        account_init(&quota->accounts[quota->n_accounts++], quota, access->own, true);
        if (access->own != 0)
                account_init(&quota->accounts[quota->n_accounts++], quota, 0, true);
        for (uint32_t i = 0; i < access->n_uids; i++)
                if (!quota_find(quota, access->uids[i]))
                        account_init(&quota->accounts[quota->n_accounts++], quota, access->uids[i],
                                     false);
        return 0;
}

void quota_deinit(struct quota *quota)
{
        for (uint32_t i = 0; i < quota->n_accounts; i++)
                for (unsigned kind = 0; kind < QUOTA_COUNTED; kind++)
                        assert(quota->accounts[i].used[kind] == 0);
        free(quota->accounts);
        quota->accounts = NULL;
        quota->n_accounts = 0;
}

struct quota_account *quota_find(const struct quota *quota, uid_t uid)
{
        for (uint32_t i = 0; i < quota->n_accounts; i++)
                if (quota->accounts[i].uid == uid)
                        return &quota->accounts[i];
        return NULL;
}

uint64_t quota_max(const struct quota_account *account, enum quota_kind kind)
{
        return account->is_exempt ? SHMD_NO_LIMIT : account->quota->max[kind];
}

const char *quota_name(const struct quota_account *account)
{
        static char text[64];

        if (*account->name)
                snprintf(text, sizeof(text), "user %s (%u)", account->name, account->uid);
        else
                snprintf(text, sizeof(text), "user %u", account->uid);
        return text;
}

bool quota_describe(const struct quota *quota, uint32_t index, char *text, size_t size)
{
        const struct quota_account *account;
        size_t n = 0;

        if (index >= quota->n_accounts)
                return false;
        account = &quota->accounts[index];
        *text = '\0';
        for (unsigned kind = 0; kind < QUOTA_COUNTED && n < size; kind++)
                if (account->used[kind])
                        n += (size_t)snprintf(text + n, size - n, "%s%s %s=%" PRIu64,
                                              n ? "" : quota_name(account), n ? "," : ":",
                                              kinds[kind].name, account->used[kind]);
        return true;
}

/* ---- refusing --------------------------------------------------------------------------- */

int quota_connect(struct quota_account *account)
{
        uint64_t rate = quota_max(account, QUOTA_CONNECTS);
        uint64_t at_once = quota_max(account, QUOTA_SESSIONS), now = now_ns(), interval, room;

        if (at_once < rate)
                at_once = rate;
        if (at_once > UINT32_MAX)
                return 0;
        /*
         * connect_ns is when the last one would have come, had all come at the rate that is
         * allowed; it may be ahead of the time by as much as may come at once. More than that, and
         * the clock has been put back.
         */
        interval = UINT64_C(1000000000) / rate;
        room = at_once * interval;
        if (account->connect_ns < now || account->connect_ns > now + room)
                account->connect_ns = now;
        if (account->connect_ns + interval > now + room) {
                return error_set(-EDQUOT,
                                 "%s has connected %" PRIu64 " times at once, and goes on with "
                                 "more than %" PRIu64 " a second (--quota connects)",
                                 quota_name(account), at_once, rate);
        }
        account->connect_ns += interval;
        return 0;
}

/* ---- charges ---------------------------------------------------------------------------- */

bool quota_has_room(const struct quota_account *account, enum quota_kind kind, uint64_t amount)
{
        uint64_t max = quota_max(account, kind), used = account->used[kind];

        return used <= max && amount <= max - used;
}

int charge_init(struct charge *charge, struct quota_account *account, enum quota_kind kind,
                uint64_t amount)
{
        *charge = (struct charge){.account = account, .kind = kind};
        return charge_resize(charge, amount);
}

int charge_resize(struct charge *charge, uint64_t amount)
{
        struct quota_account *account = charge->account;
        uint64_t *used = &account->used[charge->kind];

        if (amount > charge->amount &&
            !quota_has_room(account, charge->kind, amount - charge->amount)) {
                return error_set(-EDQUOT,
                                 "%s has %" PRIu64 " of %" PRIu64 " %s, and would need %" PRIu64
                                 " more (--quota %s)",
                                 quota_name(account), *used, quota_max(account, charge->kind),
                                 kinds[charge->kind].name, amount - charge->amount,
                                 option_of(charge->kind));
        }
        *used += amount - charge->amount;
        charge->amount = amount;
        return 0;
}

void charge_deinit(struct charge *charge)
{
        if (charge->account) {
                assert(charge->account->used[charge->kind] >= charge->amount);
                charge->account->used[charge->kind] -= charge->amount;
        }
        *charge = (struct charge){.account = NULL};
}

/* ---- limits as text --------------------------------------------------------------------- */

/* The number at `text`, of `length` characters. False: it is none. */
static bool read_number(uint64_t *number, const char *text, size_t length, bool is_size)
{
        static const char units[] = "KMGT";
        const char *unit;
        unsigned shift = 0;
        char digits[24], *end;

        if (length == 4 && memcmp(text, "none", 4) == 0) {
                *number = SHMD_NO_LIMIT;
                return true;
        }
        if (is_size && length && (unit = strchr(units, text[length - 1]))) {
                shift = 10 * (unsigned)(unit - units + 1);
                length--;
        }
        if (!length || length >= sizeof(digits) || *text < '0' || *text > '9')
                return false;
        memcpy(digits, text, length);
        digits[length] = '\0';
        errno = 0;
        *number = strtoull(digits, &end, 10);
        if (errno || *end || !*number || *number > SHMD_NO_LIMIT >> shift)
                return false;
        *number <<= shift;
        return true;
}

static int read_one(struct shmd_quota *quota, const char *text, size_t length)
{
        const char *equals = memchr(text, '=', length);
        size_t name_length = equals ? (size_t)(equals - text) : length;
        uint64_t number;

        for (unsigned kind = 0; kind < QUOTA_KINDS; kind++) {
                if (strlen(option_of(kind)) != name_length ||
                    memcmp(option_of(kind), text, name_length) != 0)
                        continue;
                if (!equals || !read_number(&number, equals + 1, length - name_length - 1,
                                            kind == QUOTA_BYTES))
                        break;
                if (kind == QUOTA_SEATS && number > 100 && number != SHMD_NO_LIMIT)
                        return error_set(-EINVAL, "'%.*s': seats are percent, 1 to 100",
                                         (int)length, text);
                memcpy((char *)quota + kinds[kind].offset, &number, sizeof(number));
                return 0;
        }
        return error_set(
                -EINVAL,
                "'%.*s' is not a quota: KIND=N, N from 1 on or none, with K, M, G or T for "
                "bytes; KIND is sessions, services, segments, bytes, subscriptions, "
                "pairs, introductions, connects or seats",
                (int)length, text);
}

int shmd_broker_quota_read(struct shmd_quota *quota, const char *text)
{
        for (;;) {
                size_t length = strcspn(text, ",");
                int code = read_one(quota, text, length);

                if (code < 0)
                        return code;
                if (!text[length])
                        return 0;
                text += length + 1;
        }
}
