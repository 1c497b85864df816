/* SPDX-License-Identifier: Apache-2.0 */
/* accounts.c - what was charged when a broker ended, by its log. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

bool accounts_were_zero(const char *path, off_t start)
{
        static const char charged[] = "still charged to ", own[] = ": sessions=1\n";
        static char text[65536];
        int log = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = log < 0 ? -1 : pread(log, text, sizeof(text) - 1, start);
        const char *line;

        if (log >= 0)
                close(log);
        text[n > 0 ? n : 0] = '\0';
        line = strstr(text, charged);
        if (!line)
                return true;
        if (strncmp(line + strcspn(line, ":"), own, strlen(own)) == 0 && !strstr(line + 1, charged))
                return true;
        fprintf(stderr, "the broker's accounts are not zero:\n%s", line);
        return false;
}
