/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sysfile.c - lines, numbers and lists of CPUs.
 */
#include "sysfile.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_SIZE = 512, LINE_SIZE = 4096 };

static FILE *open_below(const char *root, const char *path)
{
        char name[PATH_SIZE];
        int n = snprintf(name, sizeof(name), "%s%s", root, path);

        return n > 0 && n < PATH_SIZE ? fopen(name, "re") : NULL;
}

__attribute__((format(printf, 4, 0))) static bool
line_read(char *text, size_t size, const char *root, const char *format, va_list arguments)
{
        char path[PATH_SIZE];
        FILE *file = NULL;
        bool there;

        if (vsnprintf(path, sizeof(path), format, arguments) < PATH_SIZE)
                file = open_below(root, path);
        there = file && fgets(text, (int)size, file);
        if (file)
                fclose(file);
        if (!there)
                text[0] = '\0';
        text[strcspn(text, "\n")] = '\0';
        return there;
}

bool sysfile_line(char *text, size_t size, const char *root, const char *path, ...)
{
        va_list arguments;
        bool there;

        va_start(arguments, path);
        there = line_read(text, size, root, path, arguments);
        va_end(arguments);
        return there;
}

bool sysfile_number(int64_t *number, const char *root, const char *path, ...)
{
        va_list arguments;
        char text[64], *rest;
        int64_t value;
        bool there;

        va_start(arguments, path);
        there = line_read(text, sizeof(text), root, path, arguments);
        va_end(arguments);
        value = strtoll(text, &rest, 10);
        if (!there || rest == text)
                return false;
        *number = value;
        return true;
}

bool sysfile_look_up(char *text, size_t size, const char *root, const char *path, const char *key,
                     char separator)
{
        FILE *file = open_below(root, path);
        char line[LINE_SIZE];
        bool found = false;

        text[0] = '\0';
        while (file && !found && fgets(line, sizeof(line), file)) {
                char *value = strchr(line, separator);

                if (strncmp(line, key, strlen(key)) != 0 || !value)
                        continue;
                value += 1 + strspn(value + 1, " \t\"");
                value[strcspn(value, "\"\n")] = '\0';
                snprintf(text, size, "%.*s", (int)size - 1, value);
                found = true;
        }
        if (file)
                fclose(file);
        return found;
}

bool sysfile_list_has(const char *list, int number)
{
        for (;;) {
                char *rest;
                long first = strtol(list, &rest, 10), last = first;

                if (rest == list)
                        return false;
                if (*rest == '-')
                        last = strtol(rest + 1, &rest, 10);
                if (number >= first && number <= last)
                        return true;
                if (*rest != ',')
                        return false;
                list = rest + 1;
        }
}
