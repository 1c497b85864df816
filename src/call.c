/* SPDX-License-Identifier: Apache-2.0 */
/* call.c - the list of open handles, and who is in a call. */
#include <errno.h>
#include <pthread.h>

#include "connection.h"
#include "error.h"

int call_lacks(const char *function, const char *what)
{
        return error_set(-EINVAL, "%s: no %s given", function, what);
}

#if SHMD_CHECKS

/* Of all connections of the process. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list open_handles = {&open_handles, &open_handles};

void call_admit(struct open_handle *handle, const void *address, struct shmd *bus)
{
        handle->address = address;
        handle->bus = bus;
        pthread_mutex_lock(&lock);
        list_append(&open_handles, &handle->link);
        pthread_mutex_unlock(&lock);
}

void call_dismiss(struct open_handle *handle)
{
        pthread_mutex_lock(&lock);
        list_remove(&handle->link);
        pthread_mutex_unlock(&lock);
}

/* Each thread has another address for it, and a forked child's is that of the thread that forked.
 */
static _Thread_local char self;

/* The connection of the handle, entered by this thread unless another one is in it. */
static struct shmd *enter(const void *address, bool *is_entered)
{
        struct shmd *bus = NULL;

        pthread_mutex_lock(&lock);
        list_for_each (&open_handles, link) {
                struct open_handle *handle = list_entry(link, struct open_handle, link);

                if (handle->address != address)
                        continue;
                bus = handle->bus;
                *is_entered = !bus->n_calls || bus->calling_thread == &self;
                if (*is_entered) {
                        bus->calling_thread = &self;
                        bus->n_calls++;
                }
                break;
        }
        pthread_mutex_unlock(&lock);
        return bus;
}

int call_begin(struct call *call, const void *handle, const char *kind, const void *argument,
               const char *function)
{
        bool is_entered = false;
        struct shmd *bus;

        call->bus = NULL;
        if (!handle)
                return call_lacks(function, kind);
        if (!argument)
                return call_lacks(function, "place for the result");
        bus = enter(handle, &is_entered);
        if (!bus)
                return error_set(-EBADF, "%s: %p is no open %s: closed before?", function, handle,
                                 kind);
        if (is_entered)
                call->bus = bus;
        if (connection_is_inherited(bus))
                return connection_in_child();
        if (!is_entered)
                return error_set(-EBUSY,
                                 "%s: another thread is in a call on the same connection, which "
                                 "belongs to one thread at a time",
                                 function);
        return 0;
}

void call_end(struct call *call)
{
        if (!call->bus)
                return;
        pthread_mutex_lock(&lock);
        call->bus->n_calls--;
        pthread_mutex_unlock(&lock);
}

#endif
