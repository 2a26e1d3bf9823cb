/*
 * main.c - for tools/link-test: work.c's program where it is linked in.
 */
int work(void);

int main(void)
{
	return work();
}
