/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c - what a fuzzer is given, without a fuzzer: the corpus that is kept, and inputs made of
 * it by chance. With every compiler.
 *
 *     fuzz-NAME [--long] [TEST]    as any test; $FUZZ_SEED repeats what chance did
 *     fuzz-NAME FILE...            only these (a path with a slash in it)
 *
 * An input that fails is written to ./fuzz-failed before the program ends.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define INPUT_MAX     4096u
#define CORPUS_MAX    1024u
#define SECONDS       5  /* of chance, in CI */
#define SECONDS_LONG  60 /* in the soak */
#define PROGRAM_LIMIT 900

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
        size_t size;
        uint8_t bytes[INPUT_MAX];
};

static struct input corpus[CORPUS_MAX], current;
static unsigned n_corpus;
static bool is_long;
static uint64_t random_state;

static bool read_input(struct input *input, const char *path)
{
        FILE *file = fopen(path, "rbe");

        if (!file)
                return false;
        input->size = fread(input->bytes, 1, sizeof(input->bytes), file);
        fclose(file);
        return true;
}

static int read_corpus(void **state)
{
        struct dirent **entries;
        char path[512];
        int n = scandir(CORPUS, &entries, NULL, alphasort);

        (void)state;
        if (n < 0) {
                perror(CORPUS);
                return -1;
        }
        for (int i = 0; i < n; i++) {
                snprintf(path, sizeof(path), "%s/%s", CORPUS, entries[i]->d_name);
                if (*entries[i]->d_name != '.' && n_corpus < CORPUS_MAX)
                        n_corpus += read_input(&corpus[n_corpus], path);
                free(entries[i]);
        }
        free(entries);
        return 0;
}

/* On a copy of exactly its size, so that a sanitizer sees a look behind it. */
static void run(const struct input *input)
{
        uint8_t *copy = malloc(input->size ? input->size : 1);

        assert_non_null(copy);
        if (input != &current)
                current = *input;
        memcpy(copy, input->bytes, input->size);
        LLVMFuzzerTestOneInput(copy, input->size);
        free(copy);
}

static void on_abort(int number)
{
        int fd = open("fuzz-failed", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        signal(number, SIG_DFL);
        if (fd >= 0 && write(fd, current.bytes, current.size) == (ssize_t)current.size)
                close(fd);
        raise(number);
}

static void watch_for_aborts(void)
{
        static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGALRM};

        for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
                signal(signals[i], on_abort);
}

static void corpus_is_replayed(void **state)
{
        (void)state;
        watch_for_aborts();
        assert_true(n_corpus > 0);
        for (unsigned i = 0; i < n_corpus; i++)
                run(&corpus[i]);
        print_message("inputs: %u\n", n_corpus);
}

/* ---- by chance ---------------------------------------------------------------------------- */

/* splitmix64: small, and good enough to choose by. */
static unsigned chance(unsigned n)
{
        uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        return (unsigned)((z ^ z >> 31) % n);
}

/* Puts a piece of another input in place of what stands at `at`. */
static void paste(struct input *input, size_t at)
{
        const struct input *other = &corpus[chance(n_corpus)];
        size_t from = other->size ? chance((unsigned)other->size) : 0;
        size_t n = other->size - from;

        if (n > sizeof(input->bytes) - at)
                n = sizeof(input->bytes) - at;
        memcpy(input->bytes + at, other->bytes + from, n);
        input->size = at + n;
}

static void change(struct input *input)
{
        size_t at = chance((unsigned)input->size + 1), rest = input->size - at;

        switch (chance(5)) {
        case 0:
                if (input->size < sizeof(input->bytes)) {
                        memmove(input->bytes + at + 1, input->bytes + at, rest);
                        input->bytes[at] = (uint8_t)chance(256);
                        input->size++;
                }
                break;
        case 1:
                if (rest) {
                        memmove(input->bytes + at, input->bytes + at + 1, rest - 1);
                        input->size--;
                }
                break;
        case 2:
                paste(input, at);
                break;
        default:
                if (rest)
                        input->bytes[at] = (uint8_t)chance(chance(2) ? 256 : 24);
        }
}

static void inputs_by_chance_leave_nothing(void **state)
{
        const char *given = getenv("FUZZ_SEED");
        uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL), n = 0;
        time_t end = time(NULL) + (is_long ? SECONDS_LONG : SECONDS);

        (void)state;
        watch_for_aborts();
        assert_true(n_corpus > 0);
        random_state = seed;
        print_message("seed: %llu\n", (unsigned long long)seed);
        while (time(NULL) < end) {
                current = corpus[chance(n_corpus)];
                for (unsigned changes = 1 + chance(8); changes; changes--)
                        change(&current);
                run(&current);
                n++;
        }
        print_message("injections: %llu\n", (unsigned long long)n);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(corpus_is_replayed),
                cmocka_unit_test(inputs_by_chance_leave_nothing),
        };
        bool has_files = false;

        alarm(PROGRAM_LIMIT);
        LLVMFuzzerInitialize(&argc, &argv);
        for (int i = 1; i < argc; i++) {
                if (strcmp(argv[i], "--long") == 0) {
                        is_long = true;
                } else if (!strchr(argv[i], '/')) {
                        cmocka_set_test_filter(argv[i]);
                } else if (read_input(&current, argv[i])) {
                        has_files = true;
                        run(&current);
                } else {
                        perror(argv[i]);
                        return 1;
                }
        }
        if (has_files)
                return 0;
        return cmocka_run_group_tests_name(NAME, tests, read_corpus, NULL);
}
