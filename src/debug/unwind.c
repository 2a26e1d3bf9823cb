/*
 * unwind.c - an unwinder of our own: libgcc's and libunwind's take locks and allocate.
 *
 * A frame's caller is found by the call frame information (.eh_frame) of the file that its code is
 * from, through the sorted index (.eh_frame_hdr) or, where the linker made none (static programs),
 * by going through all of it. Code without any is left by its frame pointer. It ends where the
 * return address is said to be undefined: at gort__context_start.
 *
 *  1. Of the stack, only what lies in u->spans is read (or the copy): a stack that changes meanwhile,
 *     or a wrong description, gives a wrong frame at worst.
 *  2. The files are not trusted: each step of a reader is held against its end (struct reader).
 *  3. It ends: each step goes up the stack, but for two that may stay (a leaf of AArch64, and from
 *     the alternate stack to the goroutine's); the caller counts steps as well.
 *
 * Rows are kept by address: 100,000 goroutines that wait in one place cost one interpretation.
 *
 * Callers: anyone who has a struct images, signal handlers, too.
 */
#include "debug/unwind.h"

#include "regs.h"

#include <string.h>

/* ---- reading a file -------------------------------------------------------------------------- */

struct reader {
	const uint8_t *at, *end;
	uint64_t address; /* of at, as the file has it, less at itself */
	bool bad;
};

static uint64_t bytes(struct reader *r, size_t size)
{
	uint64_t n = 0;

	if ((size_t)(r->end - r->at) < size) {
		r->bad = true;
		r->at = r->end;
		return 0;
	}
	memcpy(&n, r->at, size); /* both processors are little endian */
	r->at += size;
	return n;
}

static uint64_t leb(struct reader *r, bool is_signed)
{
	uint64_t n = 0, byte;
	uint32_t shift = 0;

	do {
		byte = bytes(r, 1);
		if (shift < 64)
			n |= (byte & 127) << shift;
		shift += 7;
	} while (byte & 128 && !r->bad);
	if (is_signed && byte & 64 && shift < 64)
		n |= UINT64_MAX << shift;
	return n;
}

static uint64_t uleb(struct reader *r)
{
	return leb(r, false);
}

static int64_t sleb(struct reader *r)
{
	return (int64_t)leb(r, true);
}

static uint64_t extend(uint64_t n, uint32_t bits)
{
	return (uint64_t)((int64_t)(n << (64 - bits)) >> (64 - bits));
}

/* A DW_EH_PE_* pointer. */
static uint64_t pointer(struct reader *r, uint8_t encoding)
{
	uint64_t here = r->address + (uint64_t)(uintptr_t)r->at, n;

	switch (encoding & 15) {
	case 0:
	case 4:
	case 12:
		n = bytes(r, 8);
		break;
	case 2:
		n = bytes(r, 2);
		break;
	case 3:
		n = bytes(r, 4);
		break;
	case 10:
		n = extend(bytes(r, 2), 16);
		break;
	case 11:
		n = extend(bytes(r, 4), 32);
		break;
	default:
		r->bad = true;
		return 0;
	}
	if ((encoding & 0x70) == 0x10)
		n += here;
	else if (encoding & 0x70)
		r->bad = true;
	return n;
}

static struct reader reader_of(const struct part *p)
{
	return (struct reader){ .at = p->at,
				.end = p->at + p->size,
				.address = p->address - (uint64_t)(uintptr_t)p->at };
}

/* ---- finding the description ----------------------------------------------------------------- */

struct description {
	uint64_t first, size; /* of the code */
	uint64_t code_align;
	int64_t data_align;
	uint8_t column, encoding;
	bool augmented, interrupted;
	struct reader initial, own;
};

/* The next size bytes become a reader of their own. */
static void take(struct reader *r, uint64_t size, struct reader *in)
{
	if (size > (size_t)(r->end - r->at)) {
		r->bad = true;
		size = 0;
	}
	*in = *r;
	in->end = r->at += size;
}

/* What begins at r->at; its end becomes r's. False: the last, or not to be understood. */
static bool entry(struct reader *r, struct reader *in)
{
	uint64_t size = bytes(r, 4);

	if (size < 4)
		r->bad = true;
	take(r, size, in);
	return !r->bad;
}

static void augmentation(struct reader *r, const char *letters, struct description *d)
{
	struct reader in;

	d->augmented = *letters == 'z';
	if (!d->augmented) {
		r->bad |= *letters != 0;
		return;
	}
	take(r, uleb(r), &in);
	for (letters++; *letters && !in.bad; letters++) {
		if (*letters == 'R')
			d->encoding = (uint8_t)bytes(&in, 1);
		else if (*letters == 'P')
			pointer(&in, (uint8_t)bytes(&in, 1) & 0x7f);
		else if (*letters == 'L')
			bytes(&in, 1);
		else if (*letters == 'S')
			d->interrupted = true;
		else if (*letters != 'B')
			break;
	}
	r->bad |= in.bad;
}

/* A common information entry; r stands behind its identifier. */
static bool common(struct reader *r, struct description *d)
{
	uint64_t version = bytes(r, 1);
	const char *letters = (const char *)r->at;

	*d = (struct description){ 0 };
	if (!memchr(letters, 0, (size_t)(r->end - r->at)))
		return false;
	r->at += strlen(letters) + 1;
	d->code_align = uleb(r);
	d->data_align = sleb(r);
	d->column = (uint8_t)(version == 1 ? bytes(r, 1) : uleb(r));
	augmentation(r, letters, d);
	d->initial = *r;
	return !r->bad && (version == 1 || version == 3) && d->column < COLUMNS;
}

/* A frame description entry, if it is one and has this address. all: what it lies in. */
static bool describes(struct reader in, const uint8_t *begin, const uint8_t *end, uint64_t address,
		      struct description *d)
{
	const uint8_t *here = in.at;
	uint64_t back = bytes(&in, 4);
	struct reader r = in, of;

	if (in.bad || back == 0 || back > (size_t)(here - begin))
		return false;
	r.at = here - back;
	r.end = end;
	if (!entry(&r, &of) || bytes(&of, 4) != 0 || !common(&of, d))
		return false;
	d->first = pointer(&in, d->encoding);
	d->size = pointer(&in, d->encoding & 15);
	if (d->augmented)
		take(&in, uleb(&in), &of);
	d->own = in;
	return !in.bad && address - d->first < d->size;
}

/* Where the index has a description that may be the address's. It says how it is written, and
 * linkers make one kind: pairs of 32-bit offsets from its begin. 0: nowhere. */
static uint64_t look_up(const struct image *i, uint64_t address)
{
	struct reader r = reader_of(&i->frame_index);
	uint64_t kinds = bytes(&r, 4), base = i->frame_index.address, low = 0, high;
	const uint8_t *table;

	bytes(&r, 4);
	high = bytes(&r, 4);
	table = r.at;
	if (r.bad || kinds != 0x3b031b01 || high > (size_t)(r.end - r.at) / 8)
		return 0;
	while (low < high) { /* low: the first that begins behind address */
		uint64_t middle = low + (high - low) / 2;

		r.at = table + 8 * middle;
		if (base + extend(bytes(&r, 4), 32) <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return 0;
	r.at = table + 8 * (low - 1) + 4;
	return base + extend(bytes(&r, 4), 32);
}

static bool by_index(const struct image *i, uint64_t address, struct description *d)
{
	uint64_t where = look_up(i, address);
	const uint8_t *at = where ? gort__image_at(i, where, 8) : NULL, *end = i->file + i->size;
	struct reader r = { .at = at, .end = end, .address = where - (uint64_t)(uintptr_t)at }, in;

	return at && entry(&r, &in) && describes(in, i->file, end, address, d);
}

static bool by_search(const struct image *i, uint64_t address, struct description *d)
{
	struct reader r = reader_of(&i->frame), in;

	while (entry(&r, &in))
		if (describes(in, i->frame.at, i->frame.at + i->frame.size, address, d))
			return true;
	return false;
}

/* ---- the interpreter ------------------------------------------------------------------------- */

#define REMEMBERED 6

struct rules {
	uint8_t how[COLUMNS];
	int32_t n[COLUMNS];
	uint8_t cfa_register;
	int64_t cfa;
};

struct machine {
	const struct image *image;
	const struct description *d;
	struct rules now, initial, remembered[REMEMBERED];
	uint32_t depth;
	uint64_t at, target;
};

static void rule(struct machine *m, struct reader *r, uint64_t column, enum how how, int64_t n)
{
	if (n != (int32_t)n)
		r->bad = true;
	if (column < COLUMNS) { /* others are not followed: vectors, flags */
		m->now.how[column] = (uint8_t)how;
		m->now.n[column] = (int32_t)n;
	}
}

static void restore(struct machine *m, uint64_t column)
{
	if (column < COLUMNS) {
		m->now.how[column] = m->initial.how[column];
		m->now.n[column] = m->initial.n[column];
	}
}

static void cfa(struct machine *m, struct reader *r, uint64_t column, int64_t offset)
{
	if (column >= OS_REGS)
		r->bad = true;
	m->now.cfa_register = (uint8_t)column;
	m->now.cfa = offset;
}

/* Its place in the file. */
static int64_t expression(struct machine *m, struct reader *r)
{
	int64_t at = r->at - m->image->file;
	uint64_t size = uleb(r);

	if (size > (size_t)(r->end - r->at))
		r->bad = true;
	else
		r->at += size;
	return at;
}

/* DW_CFA_* from 0x0c on: what sets the CFA, and the signed variants. */
static void step_cfa(struct machine *m, struct reader *r, uint64_t op)
{
	int64_t align = m->d->data_align;
	uint64_t column;

	switch (op) {
	case 0x0c: /* def_cfa */
		column = uleb(r);
		cfa(m, r, column, (int64_t)uleb(r));
		break;
	case 0x0d: /* def_cfa_register */
		cfa(m, r, uleb(r), m->now.cfa);
		break;
	case 0x0e: /* def_cfa_offset */
		m->now.cfa = (int64_t)uleb(r);
		break;
	case 0x0f: /* def_cfa_expression */
		m->now.cfa = expression(m, r);
		m->now.cfa_register = COLUMNS;
		break;
	case 0x10: /* expression, val_expression */
	case 0x16:
		column = uleb(r);
		rule(m, r, column, op == 0x10 ? HOW_EXPRESSION : HOW_VALUE, expression(m, r));
		break;
	case 0x11: /* offset_extended_sf */
		column = uleb(r);
		rule(m, r, column, HOW_AT_CFA, sleb(r) * align);
		break;
	case 0x12: /* def_cfa_sf */
		column = uleb(r);
		cfa(m, r, column, sleb(r) * align);
		break;
	case 0x13: /* def_cfa_offset_sf */
		m->now.cfa = sleb(r) * align;
		break;
	case 0x14: /* val_offset, val_offset_sf */
	case 0x15:
		column = uleb(r);
		rule(m, r, column, HOW_CFA, (op == 0x14 ? (int64_t)uleb(r) : sleb(r)) * align);
		break;
	case 0x2d: /* AArch64: the return address is signed from here on, or not any more */
		break;
	case 0x2e: /* GNU_args_size */
		uleb(r);
		break;
	default:
		r->bad = true;
	}
}

static void step_extended(struct machine *m, struct reader *r, uint64_t op)
{
	uint64_t column;

	switch (op) {
	case 0x00: /* nop */
		break;
	case 0x01: /* set_loc */
		m->at = pointer(r, m->d->encoding);
		break;
	case 0x02: /* advance_loc1, 2, 4 */
	case 0x03:
	case 0x04:
		m->at += bytes(r, (size_t)1 << (op - 2)) * m->d->code_align;
		break;
	case 0x05: /* offset_extended */
		column = uleb(r);
		rule(m, r, column, HOW_AT_CFA, (int64_t)uleb(r) * m->d->data_align);
		break;
	case 0x06: /* restore_extended */
		restore(m, uleb(r));
		break;
	case 0x07: /* undefined */
		rule(m, r, uleb(r), HOW_UNDEFINED, 0);
		break;
	case 0x08: /* same_value */
		rule(m, r, uleb(r), HOW_SAME, 0);
		break;
	case 0x09: /* register */
		column = uleb(r);
		rule(m, r, column, HOW_REGISTER, (int64_t)uleb(r));
		break;
	case 0x0a: /* remember_state */
		if (m->depth == REMEMBERED)
			r->bad = true;
		else
			m->remembered[m->depth++] = m->now;
		break;
	case 0x0b: /* restore_state */
		if (m->depth == 0)
			r->bad = true;
		else
			m->now = m->remembered[--m->depth];
		break;
	default:
		step_cfa(m, r, op);
	}
}

/* Up to the first instruction of what is described that lies behind target. */
static bool interpret(struct machine *m, struct reader *r)
{
	while (r->at < r->end && !r->bad) {
		uint64_t op = bytes(r, 1), low = op & 63;

		if (op >> 6 == 1)
			m->at += low * m->d->code_align;
		else if (op >> 6 == 2)
			rule(m, r, low, HOW_AT_CFA, (int64_t)uleb(r) * m->d->data_align);
		else if (op >> 6 == 3)
			restore(m, low);
		else
			step_extended(m, r, op);
		if (m->at > m->target)
			break;
	}
	return !r->bad;
}

struct work {
	struct machine machine;
	struct description d;
};

static bool describe(struct row *row, const struct image *i, uint64_t address, struct work *w)
{
	struct machine *m = &w->machine;

	if (!by_index(i, address, &w->d) && !by_search(i, address, &w->d))
		return false;
	m->image = i;
	m->d = &w->d;
	m->at = w->d.first;
	m->target = address;
	m->depth = 0;
	memset(&m->now, 0, sizeof m->now);
	if (!interpret(m, &w->d.initial))
		return false;
	m->initial = m->now;
	m->at = w->d.first;
	if (!interpret(m, &w->d.own))
		return false;
	row->interrupted = w->d.interrupted;
	row->column = w->d.column;
	row->cfa_register = m->now.cfa_register;
	row->cfa = m->now.cfa;
	memcpy(row->how, m->now.how, sizeof row->how);
	memcpy(row->n, m->now.n, sizeof row->n);
	return true;
}

static const struct row *row_of(struct images *all, uintptr_t pc)
{
	struct row *row = &all->rows[(pc ^ pc >> 8) % ROWS];
	const struct image *i = gort__image_of(all, pc);

	_Static_assert(sizeof(struct work) <= sizeof all->work, "");
	if (row->pc != pc) {
		row->pc = pc;
		row->found = i && i->file &&
			describe(row, i, pc - i->bias, (struct work *)(void *)all->work);
	}
	return row;
}

/* ---- a step ---------------------------------------------------------------------------------- */

static bool inside(uintptr_t address, uintptr_t low, uintptr_t high)
{
	return address >= low && address < high && high - address >= sizeof(uintptr_t) &&
		address % sizeof(uintptr_t) == 0;
}

/* A word of the stack: 1. */
racy static bool word(const struct unwind *u, uintptr_t address, uintptr_t *value)
{
	uintptr_t sp = u->copied_at;

	if (inside(address, sp, sp + u->at->copied * sizeof *value)) {
		*value = u->at->stack[(address - sp) / sizeof *value];
		return true;
	}
	for (int i = 0; i < 2; i++)
		if (inside(address, u->spans[i].low, u->spans[i].high)) {
			*value = *(const volatile uintptr_t *)address;
			return true;
		}
	return false;
}

#define DEPTH 8

struct stack {
	uintptr_t value[DEPTH];
	uint32_t depth;
	bool bad;
};

static void push(struct stack *s, uintptr_t value)
{
	if (s->depth == DEPTH)
		s->bad = true;
	else
		s->value[s->depth++] = value;
}

static uintptr_t pop(struct stack *s)
{
	if (s->depth == 0) {
		s->bad = true;
		return 0;
	}
	return s->value[--s->depth];
}

static void two(struct stack *s, uint64_t op)
{
	uintptr_t b = pop(s), a = pop(s);

	if (op == 0x1a)
		push(s, a & b);
	else if (op == 0x1c)
		push(s, a - b);
	else if (op == 0x22)
		push(s, a + b);
	else if (op == 0x24)
		push(s, b < 64 ? a << b : 0);
	else if (op == 0x2a)
		push(s, (intptr_t)a >= (intptr_t)b);
	else
		s->bad = true;
}

/* DW_OP_*: what stands in the PLT, and at the return from a signal. */
static void operate(const struct unwind *u, struct reader *r, struct stack *s)
{
	uint64_t op = bytes(r, 1);
	uintptr_t at, value;

	if (op >= 0x30 && op < 0x50) { /* lit */
		push(s, op - 0x30);
	} else if (op >= 0x70 && op < 0x90) { /* breg */
		push(s, u->at->reg[op - 0x70] + (uintptr_t)sleb(r));
	} else if (op == 0x06) { /* deref */
		at = pop(s);
		s->bad = s->bad || !word(u, at, &value);
		push(s, s->bad ? 0 : value);
	} else if (op == 0x08) { /* const1u, const1s, const2u */
		push(s, bytes(r, 1));
	} else if (op == 0x09) {
		push(s, extend(bytes(r, 1), 8));
	} else if (op == 0x0a) {
		push(s, bytes(r, 2));
	} else if (op == 0x23) { /* plus_uconst */
		push(s, pop(s) + uleb(r));
	} else {
		two(s, op);
	}
}

static bool evaluate(const struct unwind *u, int64_t place, bool with_cfa, uintptr_t *value)
{
	const struct image *i = gort__image_of(u->images, unwind_pc(u));
	struct reader r = { .at = i->file + place, .end = i->file + i->size }, in;
	struct stack s = { .depth = with_cfa, .value[0] = *value };

	take(&r, uleb(&r), &in);
	while (in.at < in.end && !in.bad && !s.bad)
		operate(u, &in, &s);
	*value = pop(&s);
	return !in.bad && !r.bad && !s.bad;
}

/* What the caller has in a register. */
static bool recover(const struct unwind *u, const struct row *row, uint32_t column, uintptr_t cfa,
		    uintptr_t *value)
{
	int32_t n = row->n[column];

	switch ((enum how)row->how[column]) {
	case HOW_SAME:
		*value = u->at->reg[column];
		return true;
	case HOW_AT_CFA:
		return word(u, cfa + (uintptr_t)(intptr_t)n, value);
	case HOW_CFA:
		*value = cfa + (uintptr_t)(intptr_t)n;
		return true;
	case HOW_REGISTER:
		*value = n >= 0 && n < COLUMNS ? u->at->reg[n] : 0;
		return n >= 0 && n < COLUMNS;
	case HOW_EXPRESSION:
	case HOW_VALUE:
		*value = cfa;
		return evaluate(u, n, true, value) &&
			(row->how[column] == HOW_VALUE || word(u, *value, value));
	default:
		*value = 0;
		return column != row->column;
	}
}

static bool by_description(struct unwind *u, const struct row *row)
{
	struct os_context *c = u->at;
	uintptr_t cfa, caller[COLUMNS], sp = c->reg[ARCH_REG_SP];

	arch_regs_ready(c);
	if (row->cfa_register < COLUMNS)
		cfa = c->reg[row->cfa_register] + (uintptr_t)row->cfa;
	else if (!evaluate(u, row->cfa, false, &cfa))
		return false;
	for (uint32_t i = 0; i < COLUMNS; i++)
		if (!recover(u, row, i, cfa, &caller[i]))
			return false;
	if (row->how[ARCH_REG_SP] == HOW_SAME)
		caller[ARCH_REG_SP] = cfa;
	/* 3 */
	if (!row->interrupted && (cfa < sp || (cfa == sp && u->called)))
		return false;
	memcpy(c->reg, caller, sizeof caller);
	c->pc = arch_return_address(caller[row->column]);
	u->called = !row->interrupted;
	return true;
}

static bool by_frame_pointer(struct unwind *u)
{
	struct os_context *c = u->at;
	uintptr_t fp = c->reg[ARCH_REG_FP], next, pc;

	if (fp < c->reg[ARCH_REG_SP] || !word(u, fp, &next) || !word(u, fp + sizeof fp, &pc))
		return false;
	c->reg[ARCH_REG_FP] = next;
	c->reg[ARCH_REG_SP] = fp + 2 * sizeof fp;
	c->pc = arch_return_address(pc);
	u->called = true;
	return true;
}

bool gort__unwind(struct unwind *u)
{
	const struct row *row = row_of(u->images, unwind_pc(u));

	return (row->found ? by_description(u, row) : by_frame_pointer(u)) && u->at->pc != 0;
}
