// llama.cpp's C API, and the two calls of the system that the engine's thread needs and Glibc's module leaves out.
#pragma once
#include <llama.h>
#include <pthread.h>
#include <sys/eventfd.h>

// Hidden without _GNU_SOURCE.
int pthread_setname_np(pthread_t thread, const char *name);
