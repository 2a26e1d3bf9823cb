/* hello - a goroutine, a channel, and main receiving until the channel is closed. */
#include <gort.h>
#include <stdio.h>

typedef gort_chan_of(const char *) word_chan;

static void speak(void *arg)
{
	word_chan *words = arg;

	gort_send(*words, "Hello");
	gort_send(*words, "goroutine");
	gort_chan_close(words->chan);
	gort_chan_release(words->chan);
}

GORT_MAIN(argc, argv)
{
	word_chan words = GORT_MAKE(word_chan, 0);
	const char *word;

	gort_go_with(speak, word_chan, .chan = gort_chan_retain(words.chan));
	while (gort_recv(words, &word) == 0)
		puts(word);
	gort_chan_release(words.chan);
	return 0;
}
