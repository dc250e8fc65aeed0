/* A convolution followed by 2x2 max pooling: the pooling, and the backward pass of both together.

   Max pooling sends each gradient to one place of four; dropout and ReLU make more of them zero. A
   framework writes all these zeros down and multiplies them. Here only what is not zero is
   multiplied, in float32: for each gradient dY[n, k, p, q], which went to place (i, j) of the
   convolution's output,

       dW[k, c, r, s]         += dY[n, k, p, q] * X[n, c, i + r, j + s]
       dX[n, c, i + r, j + s] += dY[n, k, p, q] * W[k, c, r, s]

   For a kernel's row r the numbers of all s and c lie side by side, where channels are last: both
   lines add a multiple of one run of S * C numbers to another (`add_runs`). A run of weights is
   padded with zeros to whole vectors; what is read or added behind the end of one counts for nothing,
   as long as the gradients are finite.

   Threads share the images in blocks of IMAGES_PER_BLOCK. Each block has a gradient of the weights of
   its own, and the caller adds them up in their order: so the result does not depend on how many
   threads there are, or how fast. They are OpenMP's, as torch's are: threads of another kind would
   have to wait for those, which keep a core busy for milliseconds after each of torch's products. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16 /* float32 numbers in a vector of 64 bytes; shorter ones are made of it elsewhere */
#define IMAGES_PER_BLOCK 8
const int64_t lanes = LANES, images_per_block = IMAGES_PER_BLOCK; /* conv_pool.py reads them */
typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

typedef struct {
    int64_t images, height, width, channels; /* of x */
    int64_t filters, rows, columns;          /* of the weights */
    int64_t bfloat16;                        /* whether x, y, their gradients and pooled are */
    int64_t channels_last; /* whether pooled and dy are (images, windows, filters), as x is; otherwise
                              (images, filters, windows) */
} Sizes;

typedef struct {
    int64_t out_height, out_width;       /* of the convolution */
    int64_t pooled_height, pooled_width; /* a last odd row or column belongs to no window */
    int64_t windows, run, image;         /* windows of a channel, padded length of a run, size */
} Derived;

static Derived derive_sizes(const Sizes *s)
{
    Derived d;
    d.out_height = s->height - s->rows + 1;
    d.out_width = s->width - s->columns + 1;
    d.pooled_height = d.out_height / 2;
    d.pooled_width = d.out_width / 2;
    d.windows = d.pooled_height * d.pooled_width;
    d.run = (s->columns * s->channels + LANES - 1) / LANES * LANES;
    d.image = s->height * s->width * s->channels;
    return d;
}

/* bfloat16 is the upper half of a float32. */
static inline float bfloat16_to_float(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

/* To the nearest, of two as near to the even one; NaN stays NaN. */
static inline uint16_t float_to_bfloat16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    uint32_t nearest = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (uint16_t)(value != value ? 0x7fc0 : nearest);
}

static void widen(float *to, const void *from, int64_t start, int64_t count, int64_t bfloat16)
{
    if (!bfloat16) {
        memcpy(to, (const float *)from + start, 4 * count);
        return;
    }
    const uint16_t *halves = (const uint16_t *)from + start;
    for (int64_t i = 0; i < count; i++) to[i] = bfloat16_to_float(halves[i]);
}

static void narrow(void *to, const float *from, int64_t start, int64_t count, int64_t bfloat16)
{
    if (!bfloat16) {
        memcpy((float *)to + start, from, 4 * count);
        return;
    }
    uint16_t *halves = (uint16_t *)to + start;
    for (int64_t i = 0; i < count; i++) halves[i] = float_to_bfloat16(from[i]);
}

/* to[column, row] = from[row, column] */
static void transpose(float *restrict to, const float *restrict from, int64_t rows, int64_t columns)
{
    for (int64_t column = 0; column < columns; column++)
        for (int64_t row = 0; row < rows; row++) *to++ = from[row * columns + column];
}

/* The sum of several runs, each times a factor, is kept in registers until it is written down. */
static inline __attribute__((always_inline)) void add_vectors(
    int vectors, float *restrict sum, const float *restrict from, const int32_t *restrict starts,
    const float *restrict factors, int64_t count)
{
    vector kept[8];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) kept[v] = *(const vector *)(sum + v * LANES);
    for (int64_t i = 0; i < count; i++) {
        const float *run = from + starts[i];
        const float factor = factors[i];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) kept[v] += factor * *(const vector *)(run + v * LANES);
    }
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) *(vector *)(sum + v * LANES) = kept[v];
}

/* sum[l] += the sum over i < count of factors[i] * from[starts[i] + l], for l < run. */
static void add_runs(int64_t run, float *restrict sum, const float *restrict from,
                     const int32_t *restrict starts, const float *restrict factors, int64_t count)
{
    for (; run > 8 * LANES; run -= 8 * LANES, sum += 8 * LANES, from += 8 * LANES)
        add_vectors(8, sum, from, starts, factors, count);
    switch (run / LANES) { /* as many as registers hold, known when this is compiled */
    case 1: add_vectors(1, sum, from, starts, factors, count); break;
    case 2: add_vectors(2, sum, from, starts, factors, count); break;
    case 3: add_vectors(3, sum, from, starts, factors, count); break;
    case 4: add_vectors(4, sum, from, starts, factors, count); break;
    case 5: add_vectors(5, sum, from, starts, factors, count); break;
    case 6: add_vectors(6, sum, from, starts, factors, count); break;
    case 7: add_vectors(7, sum, from, starts, factors, count); break;
    case 8: add_vectors(8, sum, from, starts, factors, count); break;
    }
}

/* Where in an image a run starts that belongs to a place: place 4 * window + 0, 1, 2 or 3, which is
   row by row the place in the window. starts: (4 * windows,). */
static void find_starts(const Sizes *s, const Derived *d, int32_t *starts)
{
    for (int64_t place = 0; place < 4 * d->windows; place++) {
        int64_t row = 2 * (place / 4 / d->pooled_width) + (place >> 1 & 1);
        int64_t column = 2 * (place / 4 % d->pooled_width) + (place & 1);
        starts[place] = (int32_t)((row * s->width + column) * s->channels);
    }
}

/* A list of runs and of what each is multiplied with. */
typedef struct {
    int32_t *starts;
    float *factors;
} Runs;

/* dW and db of one image; and by place, of which filters gradients went there, with their runs of
   weights. dy, where: (filters, windows); dw: (filters, rows, run); places: (windows,); own:
   (windows,); by_place: (4 * windows, filters), of which the first counts are filled. */
static void add_weight_gradient(const Sizes *s, const Derived *d, float *dw, float *db,
                                const float *x, const float *dy, const uint8_t *where,
                                const int32_t *starts, int32_t *places, Runs own, Runs by_place,
                                int32_t *counts)
{
    memset(counts, 0, 4 * 4 * d->windows);
    for (int64_t k = 0; k < s->filters; k++, dy += d->windows, where += d->windows) {
        int64_t count = 0;
        for (int64_t window = 0; window < d->windows; window++) {
            places[count] = (int32_t)(4 * window + where[window]);
            own.factors[count] = dy[window];
            count += dy[window] != 0; /* without a branch, which nobody could predict */
        }
        for (int64_t i = 0; i < count; i++) {
            int64_t entry = places[i] * s->filters + counts[places[i]]++;
            by_place.starts[entry] = (int32_t)(k * d->run);
            by_place.factors[entry] = own.factors[i];
            own.starts[i] = starts[places[i]];
            db[k] += own.factors[i];
        }
        for (int64_t r = 0; r < s->rows; r++, dw += d->run)
            add_runs(d->run, dw, x + r * s->width * s->channels, own.starts, own.factors, count);
    }
}

/* dX of one image, from what add_weight_gradient has left. w: (rows, filters, run). */
static void add_input_gradient(const Sizes *s, const Derived *d, float *dx, const float *w,
                               const int32_t *starts, Runs by_place, const int32_t *counts)
{
    for (int64_t r = 0; r < s->rows; r++, w += s->filters * d->run, dx += s->width * s->channels)
        for (int64_t place = 0; place < 4 * d->windows; place++)
            if (counts[place])
                add_runs(d->run, dx + starts[place], w, by_place.starts + place * s->filters,
                         by_place.factors + place * s->filters, counts[place]);
}

/* Maxima of a row of 2x2 windows. y: two rows (out_width, filters); maxima, places:
   (pooled_width, filters). Of equal ones the first counts, and NaN before all, as in torch. */
static void pool_row(const Sizes *s, const Derived *d, const float *restrict y,
                     float *restrict maxima, int32_t *restrict places)
{
    for (int64_t q = 0; q < d->pooled_width; q++) {
        const float *window = y + 2 * q * s->filters;
        const float *others[3] = {window + s->filters, window + d->out_width * s->filters,
                                  window + (d->out_width + 1) * s->filters};
        float *most = maxima + q * s->filters;
        int32_t *place = places + q * s->filters;
        for (int64_t k = 0; k < s->filters; k++) most[k] = window[k], place[k] = 0;
        for (int other = 0; other < 3; other++)
            for (int64_t k = 0; k < s->filters; k++) {
                float value = others[other][k];
                int more = (value > most[k]) | (value != value);
                most[k] = more ? value : most[k];
                place[k] = more ? other + 1 : place[k];
            }
    }
}

/* y (images, out_height, out_width, filters) to the maxima of its windows, pooled, in the order that
   s->channels_last says, and where they are (images, filters, windows). Returns whether there was not
   enough memory. */
int pool(const Sizes *s, const void *y, void *pooled, uint8_t *where, int threads)
{
    const Derived d = derive_sizes(s);
    const int64_t row = d.out_width * s->filters, out = s->filters * d.windows;
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        float *rows = malloc(4 * 2 * row), *maxima = malloc(4 * out), *transposed = malloc(4 * out);
        int32_t *places = malloc(4 * out);
        failed = !rows || !maxima || !transposed || !places;
#pragma omp for schedule(dynamic)
        for (int64_t n = 0; n < s->images; n++) {
            if (failed) continue;
            for (int64_t p = 0; p < d.pooled_height; p++) {
                widen(rows, y, (n * d.out_height + 2 * p) * row, 2 * row, s->bfloat16);
                int64_t first = p * d.pooled_width * s->filters;
                pool_row(s, &d, rows, maxima + first, places + first);
            }
            for (int64_t k = 0, to = n * out; k < s->filters; k++)
                for (int64_t from = k; from < out; from += s->filters) where[to++] = (uint8_t)places[from];
            if (!s->channels_last) transpose(transposed, maxima, d.windows, s->filters);
            narrow(pooled, s->channels_last ? maxima : transposed, n * out, out, s->bfloat16);
        }
        free(rows), free(maxima), free(transposed), free(places);
    }
    return failed;
}

/* dy: as pooled; where: (images, filters, windows); x, dx: (images, height, width, channels); w:
   (rows, filters, run); dw: (blocks, filters, rows, run) and db: (blocks, filters), zero before. Returns
   whether there was not enough memory. */
int backward(const Sizes *s, const void *x, const float *w, const void *dy, const uint8_t *where,
             void *dx, float *dw, float *db, int threads)
{
    const Derived d = derive_sizes(s);
    const int64_t out = s->filters * d.windows, blocks = (s->images - 1) / IMAGES_PER_BLOCK + 1;
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        /* What is read or written behind the last run stays inside. */
        float *image = calloc(d.image + d.run, 4), *gradient = malloc(4 * (d.image + d.run));
        float *above_last = malloc(4 * out), *above = malloc(4 * out);
        int32_t *starts = malloc(4 * 4 * d.windows), *counts = malloc(4 * 4 * d.windows);
        int32_t *places = malloc(4 * d.windows);
        Runs own = {malloc(4 * d.windows), malloc(4 * d.windows)};
        Runs by_place = {malloc(4 * 4 * out), malloc(4 * 4 * out)};
        failed = !image || !gradient || !above_last || !above || !starts || !counts || !places ||
                 !own.starts || !own.factors || !by_place.starts || !by_place.factors;
        if (!failed) find_starts(s, &d, starts);
#pragma omp for schedule(dynamic)
        for (int64_t block = 0; block < blocks; block++) {
            float *own_dw = dw + block * s->filters * s->rows * d.run;
            float *own_db = db + block * s->filters;
            for (int64_t n = block * IMAGES_PER_BLOCK; n < (block + 1) * IMAGES_PER_BLOCK; n++) {
                if (failed || n >= s->images) continue;
                widen(image, x, n * d.image, d.image, s->bfloat16);
                widen(s->channels_last ? above_last : above, dy, n * out, out, s->bfloat16);
                if (s->channels_last) transpose(above, above_last, d.windows, s->filters);
                add_weight_gradient(s, &d, own_dw, own_db, image, above, where + n * out, starts,
                                    places, own, by_place, counts);
                memset(gradient, 0, 4 * (d.image + d.run));
                add_input_gradient(s, &d, gradient, w, starts, by_place, counts);
                narrow(dx, gradient, n * d.image, d.image, s->bfloat16);
            }
        }
        free(image), free(gradient), free(above_last), free(above), free(starts), free(counts);
        free(places), free(own.starts), free(own.factors), free(by_place.starts), free(by_place.factors);
    }
    return failed;
}
