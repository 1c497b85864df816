/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list.h - doubly linked lists through a `struct list` inside each element.
 *
 * The head is a `struct list` of its own; a link's comment says whose. An element that is in no
 * list has a link that points to itself, so that list_remove() is always allowed.
 */
#ifndef SHMD_LIST_H
#define SHMD_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
        struct list *next;
        struct list *previous;
};

static inline void list_init(struct list *list)
{
        list->next = list->previous = list;
}

static inline bool list_empty(const struct list *head)
{
        return head->next == head;
}

static inline void list_append(struct list *head, struct list *link)
{
        link->previous = head->previous;
        link->next = head;
        head->previous->next = link;
        head->previous = link;
}

static inline void list_remove(struct list *link)
{
        link->previous->next = link->next;
        link->next->previous = link->previous;
        list_init(link);
}

/* The element that `link` is the member `member` of. */
#define list_entry(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

#define list_for_each(head, link) \
        for (struct list *link = (head)->next; link != (head); link = link->next)

/* As list_for_each(), where the body may remove and free `link` (but nothing else). */
#define list_for_each_safe(head, link)                                                    \
        for (struct list *link = (head)->next, *link##_next = link->next; link != (head); \
             link = link##_next, link##_next = link->next)

#endif
