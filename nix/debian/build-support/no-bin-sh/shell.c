/* Programs that start /bin/sh get the base's own shell: a build has none, and the host's is the
   host's. They need this library before libc, whose own calls among these are internal. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const char *program(const char *path) {
  return strcmp(path, "/bin/sh") == 0 ? SHELL : path;
}

typedef int spawn_function(pid_t *, const char *, const posix_spawn_file_actions_t *,
                           const posix_spawnattr_t *, char *const[], char *const[]);

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *attributes, char *const arguments[],
                char *const environment[]) {
  spawn_function *next = (spawn_function *)dlsym(RTLD_NEXT, "posix_spawn");
  return next(pid, program(path), actions, attributes, arguments, environment);
}

int execve(const char *path, char *const arguments[], char *const environment[]) {
  int (*next)(const char *, char *const[], char *const[]) = dlsym(RTLD_NEXT, "execve");
  return next(program(path), arguments, environment);
}

int execv(const char *path, char *const arguments[]) { return execve(path, arguments, environ); }

int execvp(const char *file, char *const arguments[]) {
  int (*next)(const char *, char *const[]) = dlsym(RTLD_NEXT, "execvp");
  return next(program(file), arguments);
}

/* As POSIX describes it: SIGINT and SIGQUIT are the command's while it runs, SIGCHLD waits. */
int system(const char *command) {
  if (command == NULL) return 1;

  struct sigaction ignore = {.sa_handler = SIG_IGN}, interrupt, quit;
  sigset_t child, mask, defaults;
  sigaction(SIGINT, &ignore, &interrupt);
  sigaction(SIGQUIT, &ignore, &quit);
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, &mask);

  posix_spawnattr_t attributes;
  sigemptyset(&defaults);
  if (interrupt.sa_handler != SIG_IGN) sigaddset(&defaults, SIGINT);
  if (quit.sa_handler != SIG_IGN) sigaddset(&defaults, SIGQUIT);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setsigmask(&attributes, &mask);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  pid_t pid;
  int status = -1;
  char *arguments[] = {"sh", "-c", (char *)command, NULL};
  int fault = posix_spawn(&pid, "/bin/sh", NULL, &attributes, arguments, environ);
  if (fault == 0) {
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  } else {
    status = 127 << 8;
    errno = fault;
  }
  posix_spawnattr_destroy(&attributes);
  sigaction(SIGINT, &interrupt, NULL);
  sigaction(SIGQUIT, &quit, NULL);
  sigprocmask(SIG_SETMASK, &mask, NULL);
  return status;
}
