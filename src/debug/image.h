/*
 * image.h - what a report reads of the program's ELF files: names, and how to unwind. Everything lies
 * in memory that the report has mapped for itself, so any number may be made at a time, on any stack,
 * in signal handlers. See symbols.c and unwind.c.
 */
#ifndef GORT_DEBUG_IMAGE_H
#define GORT_DEBUG_IMAGE_H

#include "os/os.h"

#define IMAGES_MOST 128
#define ROWS 256u    /* kept, by address */
#define SYMBOLS 512u /* the same */

/* A part of a file, or nothing. */
struct part {
	const uint8_t *at;
	size_t size;
	uint64_t address; /* as the file has it */
};

struct image {
	uintptr_t start, end;
	uintptr_t bias; /* address in memory less the one in the file */
	const uint8_t *file;
	size_t size;
	const char *name;
	struct part symbols, strings;
	struct part frame, frame_index; /* .eh_frame, .eh_frame_hdr */
};

/* How a register of the caller is found. */
enum how { HOW_SAME, HOW_UNDEFINED, HOW_AT_CFA, HOW_CFA, HOW_REGISTER, HOW_EXPRESSION, HOW_VALUE };

#define COLUMNS OS_REGS
struct row {
	uintptr_t pc;         /* 0: free */
	bool found;           /* there is a description */
	bool interrupted;     /* a signal's frame: its caller was interrupted, and called nobody */
	uint8_t column;       /* of the return address */
	uint8_t cfa_register; /* COLUMNS: cfa is an expression */
	int64_t cfa;          /* offset; an expression's place in the file */
	uint8_t how[COLUMNS];
	int32_t n[COLUMNS]; /* offset, register, place in the file */
};

struct symbol {
	uintptr_t pc;
	const char *name; /* in the file; NULL: none */
	size_t length;    /* of name */
	uintptr_t offset;
};

struct images {
	int count;
	struct os_image opened[IMAGES_MOST];
	struct image images[IMAGES_MOST];
	struct row rows[ROWS];
	struct symbol symbols[SYMBOLS];
	_Alignas(8) char work[2048]; /* unwind.c's, too large for small stacks */
};

void gort__images_open(struct images *all);
void gort__images_close(struct images *all);
/* The image that pc lies in, or NULL. */
const struct image *gort__image_of(const struct images *all, uintptr_t pc);
/* size bytes that the file has for an address of its own; NULL: it has not so many. */
const uint8_t *gort__image_at(const struct image *i, uint64_t address, size_t size);
/* The function that pc lies in; name is NULL if it is not known. pc: of an instruction. */
const struct symbol *gort__symbol(struct images *all, uintptr_t pc);

#endif
