/* A microphone for ALSA on machines without a sound card: an I/O plugin of
 * alsa-lib whose clock is CLOCK_MONOTONIC and whose interrupt is a timer, so
 * that audio comes when it would from hardware, and which fails when told to.
 *
 *   pcm_type.test_mic { lib "/path/to/alsa_mic.so" }
 *   pcm.mic {
 *       type test_mic
 *       rate 48000        # the only one that it offers; so with the next two
 *       channels 1
 *       format S16_LE
 *       starts_at 32000   # offers this rate too, and starts at no other
 *       ppm 200           # its clock is so much faster than CLOCK_MONOTONIC
 *       impulses 1        # silence, and a short bell of full scale about each tenth of a second
 *                         # of CLOCK_MONOTONIC, to a fraction of a sample
 *       level 0.25        # every sample; without it frame n is that of tests/known
 *                         # on channel 0, and silence on the others
 *       faults "/path"    # a file of 4 bytes, a number in the machine's order:
 *                         # 1 says nothing, 2 xrun, 3 suspended, 4 gone,
 *                         # 5 suspended and can't resume, 6 hangs: no call returns
 *   }
 *
 * Frame n is the one at n / rate seconds of CLOCK_MONOTONIC (less the ppm). 1, 4 and 6 hold for as
 * long as the file says so; 2, 3 and 5 happen once and leave a 0.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <alsa/asoundlib.h>
#include <alsa/pcm_external.h>

enum { FINE, SILENT, XRUN, SUSPENDED, GONE, SUSPENDED_FOR_GOOD, HANGS };

struct mic {
	snd_pcm_ioplug_t io;
	unsigned rate, channels;
	unsigned starts_at; /* 0: at any */
	snd_pcm_format_t format;
	double level; /* negative: known content */
	long ppm;
	int impulses;
	uint64_t start; /* number of the stream's first frame */
	uint64_t count; /* frames since */
	int resumes;
	_Atomic uint32_t *faults;
	_Atomic uint32_t no_faults;
};

static uint64_t frame_now(const struct mic *mic)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	unsigned __int128 ns = (unsigned __int128)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	return (uint64_t)(ns * mic->rate * (uint64_t)(1000000 + mic->ppm) / 1000000 / 1000000000u);
}

/* Frame n of bells whose middles are where the tenths of a second are. */
static int32_t bell(const struct mic *mic, uint64_t n)
{
	long double tenth = mic->rate * (1.0L + mic->ppm * 1e-6L) / 10;
	double off = (double)(n - roundl(n / tenth) * tenth) / 3;

	return fabs(off) > 6 ? 0 : (int32_t)(exp(-off * off / 2) * 2147483647.0);
}

/* Frame n as 32 bits: tests/known has the same. */
static int32_t known(uint64_t n);

static int32_t sample_of(const struct mic *mic, uint64_t n, unsigned channel)
{
	if (mic->impulses)
		return bell(mic, n);
	if (mic->level >= 0)
		return (int32_t)(mic->level * 2147483647.0);
	return channel == 0 ? known(n) : 0;
}

/* As a plugin whose server is stopped. */
static void hang(const struct mic *mic)
{
	while (atomic_load(mic->faults) == HANGS)
		nanosleep(&(struct timespec){ 0, 20000000 }, NULL);
}

static int32_t known(uint64_t n)
{
	uint16_t mixed = (uint16_t)((uint16_t)n * 0x9e37u);
	uint16_t top = (uint16_t)((uint16_t)(mixed ^ (mixed >> 7)) * 0x85ebu);

	return (int32_t)((uint32_t)top << 16 | (uint32_t)(uint8_t)(top >> 3) << 8);
}

/* What a sound card's DMA does: frames from `first` to `end` since the start. */
static void fill(struct mic *mic, uint64_t first, uint64_t end)
{
	const snd_pcm_channel_area_t *areas = snd_pcm_ioplug_mmap_areas(&mic->io);
	size_t bytes = (size_t)snd_pcm_format_physical_width(mic->format) / 8;

	if (!areas)
		return;
	if (end - first > mic->io.buffer_size)
		first = end - mic->io.buffer_size;
	for (; first < end; first++)
		for (unsigned c = 0; c < mic->channels; c++) {
			size_t bit = areas[c].first + first % mic->io.buffer_size * areas[c].step;
			int32_t sample = sample_of(mic, mic->start + first, c);

			memcpy((char *)areas[c].addr + bit / 8, (char *)&sample + 4 - bytes, bytes);
		}
}

/* An interrupt when the next period is whole: each at its own moment, so that none is later
 * than the one before however long it runs. */
static int interrupt(const struct mic *mic)
{
	unsigned __int128 frame = frame_now(mic) - mic->start, rate;
	struct itimerspec at = { { 0, 0 }, { 0, 0 } };
	uint64_t ns;

	frame += mic->start + mic->io.period_size - frame % mic->io.period_size;
	rate = (unsigned __int128)mic->rate * (uint64_t)(1000000 + mic->ppm);
	ns = (uint64_t)((frame * 1000000000000000u + rate - 1) / rate);
	at.it_value = (struct timespec){ (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };
	return timerfd_settime(mic->io.poll_fd, TFD_TIMER_ABSTIME, &at, NULL) < 0 ? -errno : 0;
}

static int mic_start(snd_pcm_ioplug_t *io)
{
	struct mic *mic = io->private_data;

	hang(mic);
	if (atomic_load(mic->faults) == GONE)
		return -ENODEV;
	if (mic->starts_at && mic->starts_at != io->rate)
		return -EIO;
	mic->rate = io->rate;
	mic->start = frame_now(mic);
	mic->count = 0;
	return interrupt(mic);
}

static int mic_stop(snd_pcm_ioplug_t *io)
{
	struct itimerspec never = { { 0, 0 }, { 0, 0 } };

	return timerfd_settime(io->poll_fd, 0, &never, NULL) < 0 ? -errno : 0;
}

static int mic_prepare(snd_pcm_ioplug_t *io)
{
	struct mic *mic = io->private_data;

	hang(mic);
	mic->count = 0;
	return atomic_load(mic->faults) == GONE ? -ENODEV : 0;
}

static snd_pcm_sframes_t mic_pointer(snd_pcm_ioplug_t *io)
{
	struct mic *mic = io->private_data;
	uint32_t fault;
	uint64_t count;

	hang(mic);
	fault = atomic_load(mic->faults);
	if (fault == XRUN || fault == SUSPENDED || fault == SUSPENDED_FOR_GOOD)
		atomic_store(mic->faults, FINE);
	switch (fault) {
	case XRUN:
		return -EPIPE;
	case SUSPENDED:
	case SUSPENDED_FOR_GOOD:
		mic->resumes = fault == SUSPENDED;
		snd_pcm_ioplug_set_state(io, SND_PCM_STATE_SUSPENDED);
		break;
	case GONE:
		snd_pcm_ioplug_set_state(io, SND_PCM_STATE_DISCONNECTED);
		break;
	case SILENT:
		break;
	default:
		if (io->state != SND_PCM_STATE_RUNNING)
			break;
		/* Whole periods, as interrupts tell them. */
		count = frame_now(mic) - mic->start;
		count -= count % io->period_size;
		fill(mic, mic->count, count);
		mic->count = count;
	}
	return (snd_pcm_sframes_t)mic->count;
}

static int mic_resume(snd_pcm_ioplug_t *io)
{
	struct mic *mic = io->private_data;

	if (!mic->resumes)
		return -ENOSYS;
	snd_pcm_ioplug_set_state(io, SND_PCM_STATE_RUNNING);
	return 0;
}

static int mic_revents(snd_pcm_ioplug_t *io, struct pollfd *pfd, unsigned int n, unsigned short *revents)
{
	struct mic *mic = io->private_data;
	uint64_t expired;

	(void)n;
	*revents = 0;
	if (pfd->revents & POLLIN && read(io->poll_fd, &expired, sizeof expired) > 0) {
		*revents = POLLIN;
		interrupt(mic);
	}
	if (atomic_load(mic->faults) == SILENT)
		*revents = 0;
	else if (io->state != SND_PCM_STATE_RUNNING)
		*revents = POLLERR;
	return 0;
}

static int mic_close(snd_pcm_ioplug_t *io)
{
	struct mic *mic = io->private_data;

	hang(mic);
	close(io->poll_fd);
	if (mic->faults != &mic->no_faults)
		munmap((void *)mic->faults, sizeof *mic->faults);
	free(mic);
	return 0;
}

static const snd_pcm_ioplug_callback_t callbacks = {
	.start = mic_start,
	.stop = mic_stop,
	.pointer = mic_pointer,
	.prepare = mic_prepare,
	.resume = mic_resume,
	.poll_revents = mic_revents,
	.close = mic_close,
};

static int constrain(struct mic *mic)
{
	unsigned access[] = { SND_PCM_ACCESS_MMAP_INTERLEAVED, SND_PCM_ACCESS_RW_INTERLEAVED };
	unsigned format = (unsigned)mic->format;
	unsigned rates[] = { mic->rate, mic->starts_at };
	unsigned frame = mic->channels * (unsigned)snd_pcm_format_physical_width(mic->format) / 8;
	snd_pcm_ioplug_t *io = &mic->io;
	int err = 0;

	err |= snd_pcm_ioplug_set_param_list(io, SND_PCM_IOPLUG_HW_ACCESS, 2, access);
	err |= snd_pcm_ioplug_set_param_list(io, SND_PCM_IOPLUG_HW_FORMAT, 1, &format);
	err |= snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_CHANNELS, mic->channels, mic->channels);
	err |= snd_pcm_ioplug_set_param_list(io, SND_PCM_IOPLUG_HW_RATE, mic->starts_at ? 2 : 1, rates);
	err |= snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_PERIOD_BYTES, 16 * frame, 65536 * frame);
	err |= snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_PERIODS, 2, 1024);
	return err;
}

static int map_faults(struct mic *mic, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *at;

	if (fd < 0)
		return -errno;
	at = mmap(NULL, sizeof *mic->faults, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (at == MAP_FAILED)
		return -errno;
	mic->faults = at;
	return 0;
}

SND_PCM_PLUGIN_DEFINE_FUNC(test_mic)
{
	struct mic *mic = calloc(1, sizeof *mic);
	snd_config_iterator_t at, next;
	int err = 0;

	(void)root;
	if (!mic)
		return -ENOMEM;
	mic->rate = 48000;
	mic->channels = 1;
	mic->format = SND_PCM_FORMAT_S16_LE;
	mic->level = -1;
	mic->faults = &mic->no_faults;
	snd_config_for_each(at, next, conf) {
		snd_config_t *entry = snd_config_iterator_entry(at);
		const char *id, *text = NULL;
		long number = 0;

		if (snd_config_get_id(entry, &id) < 0)
			continue;
		snd_config_get_string(entry, &text);
		snd_config_get_integer(entry, &number);
		if (!strcmp(id, "rate"))
			mic->rate = (unsigned)number;
		else if (!strcmp(id, "channels"))
			mic->channels = (unsigned)number;
		else if (!strcmp(id, "starts_at"))
			mic->starts_at = (unsigned)number;
		else if (!strcmp(id, "format"))
			mic->format = snd_pcm_format_value(text);
		else if (!strcmp(id, "ppm"))
			mic->ppm = number;
		else if (!strcmp(id, "impulses"))
			mic->impulses = number != 0;
		else if (!strcmp(id, "level"))
			err = snd_config_get_ireal(entry, &mic->level);
		else if (!strcmp(id, "faults") && text)
			err = map_faults(mic, text);
	}
	hang(mic);
	mic->io.poll_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (err >= 0 && stream != SND_PCM_STREAM_CAPTURE)
		err = -EINVAL;
	if (err >= 0 && atomic_load(mic->faults) == GONE)
		err = -ENODEV;
	if (err < 0) {
		mic_close(&(struct snd_pcm_ioplug){ .private_data = mic, .poll_fd = mic->io.poll_fd });
		return err;
	}
	mic->io.version = SND_PCM_IOPLUG_VERSION;
	mic->io.name = "Microphone of the tests";
	mic->io.flags = SND_PCM_IOPLUG_FLAG_MONOTONIC | SND_PCM_IOPLUG_FLAG_BOUNDARY_WA;
	mic->io.poll_events = POLLIN;
	mic->io.mmap_rw = 1;
	mic->io.callback = &callbacks;
	mic->io.private_data = mic;
	err = snd_pcm_ioplug_create(&mic->io, name, stream, mode);
	if (err < 0) {
		mic_close(&mic->io);
		return err;
	}
	err = constrain(mic);
	if (err < 0) {
		snd_pcm_ioplug_delete(&mic->io);
		return err;
	}
	*pcmp = mic->io.pcm;
	return 0;
}
SND_PCM_PLUGIN_SYMBOL(test_mic);
