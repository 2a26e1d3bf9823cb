/*
 * text_end.c - where gort's code ends: see text_begin.c.
 */
#include "arch/arch.h"

__attribute__((used, section(".text.gort__text_end"))) void gort__text_end(void)
{
}

__attribute__((used, section(".text.unlikely.gort__seldom_end"))) void gort__seldom_end(void)
{
}
