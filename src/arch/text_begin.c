/*
 * text_begin.c - where gort's code begins in a program that it is linked into statically: the first
 * of its objects, as text_end.c is the last. Linkers keep a file's sections together and in order,
 * those of functions that are called seldom apart from the others. See arch.h.
 */
#include "arch/arch.h"

__attribute__((used, section(".text"))) void gort__text_begin(void)
{
}

__attribute__((used, section(".text.unlikely"))) void gort__seldom_begin(void)
{
}
