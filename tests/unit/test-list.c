/* SPDX-License-Identifier: Apache-2.0 */
/* test-list.c - elements are walked in the order in which they came, and leave without a trace. */
#include "unit.h"
#include "list.h"

struct element {
        int before; /* so that the link is not at the start */
        struct list link;
        int value;
};

/* Asserts that the list has these values, both ways. */
static void assert_values(struct list *head, const int *values, int n)
{
        struct list *link = head->previous;
        int i = 0;

        list_for_each (head, at) {
                if (i == n) {
                        fail_msg("more than %d elements", n);
                        return;
                }
                assert_int_equal(list_entry(at, struct element, link)->value, values[i]);
                i++;
        }
        assert_int_equal(i, n);
        for (; link != head; link = link->previous)
                assert_int_equal(list_entry(link, struct element, link)->value, values[--i]);
        assert_int_equal(i, 0);
        assert_int_equal(list_empty(head), n == 0);
}

static void fill(struct list *head, struct element *elements, int n)
{
        list_init(head);
        for (int i = 0; i < n; i++) {
                elements[i].value = i;
                list_append(head, &elements[i].link);
        }
}

static void elements_are_walked_in_the_order_they_were_appended(void **unused)
{
        struct element elements[3];
        struct list head;

        list_init(&head);
        assert_values(&head, NULL, 0);
        fill(&head, elements, 3);
        assert_values(&head, (const int[]){0, 1, 2}, 3);
}

static void element_is_removed_from_anywhere_and_more_than_once(void **unused)
{
        struct element elements[3];
        struct list head;

        fill(&head, elements, 3);
        list_remove(&elements[1].link);
        assert_values(&head, (const int[]){0, 2}, 2);
        list_remove(&elements[1].link);
        assert_values(&head, (const int[]){0, 2}, 2);
        list_remove(&elements[0].link);
        assert_values(&head, (const int[]){2}, 1);
        list_append(&head, &elements[1].link);
        list_remove(&elements[2].link);
        assert_values(&head, (const int[]){1}, 1);
        list_remove(&elements[1].link);
        assert_values(&head, NULL, 0);
}

static void walk_goes_on_when_the_element_it_is_at_is_removed(void **unused)
{
        struct element elements[4];
        struct list head;
        int seen = 0;

        fill(&head, elements, 4);
        list_for_each_safe (&head, link) {
                struct element *element = list_entry(link, struct element, link);

                assert_int_equal(element->value, seen++);
                if (element->value != 2)
                        list_remove(link);
        }
        assert_int_equal(seen, 4);
        assert_values(&head, (const int[]){2}, 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(elements_are_walked_in_the_order_they_were_appended),
                cmocka_unit_test(element_is_removed_from_anywhere_and_more_than_once),
                cmocka_unit_test(walk_goes_on_when_the_element_it_is_at_is_removed),
        };

        return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
