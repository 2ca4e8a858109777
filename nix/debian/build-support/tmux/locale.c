/* tmux starts in a UTF-8 locale or not at all, and the base's libc knows no folder of locales. This
   one is for tmux alone: what runs in it would inherit LOCPATH, and no longer find the host's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>

char *setlocale(int category, const char *name) {
  char *(*next)(int, const char *) = dlsym(RTLD_NEXT, "setlocale");
  if (getenv("LOCPATH") != NULL) return next(category, name);
  setenv("LOCPATH", LOCALES, 1);
  char *found = next(category, name);
  unsetenv("LOCPATH");
  return found;
}
