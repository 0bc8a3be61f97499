// One iteration of z := (1-a-b) z + a q + b D(c q + (1-c) z), q = P O, and the sums of what then differs from q, in one pass.
//
// A frame lies in the shared memory of CLUSTER blocks that work on it together: block r owns rows r*SPAN .. r*SPAN+SPAN-1,
// and after the transposition the columns of the same numbers. Between its first read and its last write a frame never
// leaves the chip; of several modes the far fields wait in scratch memory that stays in the L2 cache.
//
// A transform of SIDE = RADIX * 16 is two steps in registers: y = k + 16 j -> (RADIX-point over j) -> twiddle ->
// (16-point over k) -> frequency f = p + RADIX m. The inverse runs the same steps backwards, so rows are exchanged inside
// a warp, columns inside a block, and only the two transpositions go to other blocks.
//
// With x = c q + (1-c) z and d = D x - x the new wave is (1-a-bc) z + (a+bc) q + b d. Only d comes back from the far field,
// where it is F x times (m/M - 1), so of RAAR, DM and AP, for which a+bc = 1, no wave is read twice: z - q is b d.
//
// Compiled with RESIDENT (blocks on a multiprocessor), COPIES (of the probe's sums), MODES, TERM (0 project, 1 gaussian,
// 2 poisson), BACKGROUND (0 or 1) and KEEP (1 when a+bc is not 1) given as macros, after fourier.cu and cluster.cu.

// STAYS: 1 when the sums of the probe stay in shared memory until all frames are done.

constexpr int PIXELS = SIDE * SIDE, PART = SPAN * SIDE, STAYING = STAYS * MODES * PART;
constexpr int SUM_AT = PART, LIGHT_AT = SUM_AT + STAYING;  // in the shared memory of a block

enum Pass { FORTH, TURN, BACK };  // to the far field; there and back; back
enum Sums { NONE, OBJECT, BOTH };

struct Blend { float keep, model, data, inside; };  // 1-a-bc, a+bc, b, c

struct Detector {
    const float* background;  // arranged as amplitudes are
    float stiffness;
};

struct Here {  // this block: its rank in the cluster, where its part of a frame and its barriers are in shared memory
    unsigned rank, held_at, barriers;

    __device__ __forceinline__ Here again() const { return Here{anew(rank), anew(held_at), anew(barriers)}; }
};

struct Frame {
    const float* amplitude;
    float2* waves;
    const float2* probes;
    long long corner;  // of the window, in the flat object
    float weight, gain;
    float2* probe_sums;
};

// Rows of c P O + (1-c) z, transformed; then each part to the block that owns its columns.
__device__ __forceinline__ void rows_forward(float2* held, const Here& here, const Frame& frame, int mode,
                                             const float2* __restrict__ image, int width, const float2* __restrict__ turn,
                                             float inside, unsigned phase) {
    const int me = thread(), lane = me % 32, first_row = me / 32 * WARP_ROWS, k = lane % 16, rank = here.rank;
    const float2 w = __ldg(turn + k), start = __ldg(turn + (k * STAGGER16 * rank % 16) * RADIX);
#pragma unroll AT_ONCE
    for (int item = 0; item < ITEMS; ++item) {
        const int row = first_row + 2 * item + lane / 16;
        const int place = row * SIDE + k;
        const float2* z_at = frame.waves + mode * PIXELS + rank * PART + place;
        const float2* p = frame.probes + mode * PIXELS + rank * PART + place;
        const float2* o = image + (long long)(rank * SPAN + row) * width + k;
        float2 v[RADIX];
#pragma unroll
        for (int j = 0; j < RADIX; ++j) {
            const float2 q = __ldg(p + 16 * j) * __ldg(o + 16 * j);
            const float2 z = inside == 1.0f ? make_float2(0.0f, 0.0f) : read_once(z_at + 16 * j);
            v[j] = make_float2(inside * q.x + (1.0f - inside) * z.x, inside * q.y + (1.0f - inside) * z.y);
        }
        Dft<RADIX, false>::run(v);
        twiddle<RADIX>(v, start, w);
#pragma unroll
        for (int p = 0; p < RADIX; ++p) held[swapped(row, k, p)] = v[p];
    }
    __syncwarp();
    float2 v[ROUNDS][16];
#pragma unroll
    for (int round = 0; round < ROUNDS; ++round) {
        const int i = lane + 32 * round, row = first_row + i / RADIX, p = i % RADIX;
#pragma unroll
        for (int l = 0; l < 16; ++l) v[round][l] = held[swapped(row, l, p)];
    }
    have_read(here.barriers);
#pragma unroll
    for (int round = 0; round < ROUNDS; ++round) Dft<16, false>::run(v[round]);
    await_free(here.barriers, phase);
#pragma unroll
    for (int m = 0; m < 16; ++m) {  // the twiddles moved the frequencies round, so that each block begins at itself
        const unsigned turned_m = (m + STAGGER16 * rank) % 16, owner_rank = CLUSTER == 1 ? 0 : turned_m / (16 / CLUSTER);
        const unsigned owner = address_in(here.held_at, owner_rank), barriers = address_in(here.barriers, owner_rank);
        const int column = turned_m * RADIX % SPAN;
#pragma unroll
        for (int round = 0; round < ROUNDS; ++round) {
            const int i = lane + 32 * round, row = first_row + i / RADIX, y = rank * SPAN + row;
            put(owner + 8 * (y * SPAN + ((column + i % RADIX) ^ turn_of(row))), v[round][m], barriers);
        }
    }
}

// What the sum of all modes |F x|^2 = `light` / SIDE^2 and the measured amplitude make of F x: (m/M - 1) / SIDE^2.
__device__ __forceinline__ float pull(float light, float amplitude, const Detector& detector) {
    constexpr float ONE = 1.0f / (float(SIDE) * SIDE);
    const float back = rsqrtf(light + 1e-30f), s = detector.stiffness;
    float factor = amplitude * (1.0f / SIDE) * back - ONE;
    if constexpr (TERM == 1) factor *= 1.0f / (1.0f + s);
    if constexpr (TERM == 2) {
        const float root = sqrtf(s * s * light + 4.0f * (1.0f + s) * (float(SIDE) * SIDE) * amplitude * amplitude);
        factor = (root * back - (2.0f + s)) * (ONE * 0.5f / (1.0f + s));
    }
    return amplitude < 0.0f ? 0.0f : factor;
}

// The 16 pixels of the far field that a thread holds meet the measured amplitude.
template <Pass PASS>
__device__ __forceinline__ void detect(float2 (&v)[16], unsigned place, const Frame& frame, const Detector& detector,
                                       const float (&amplitude)[16], float* light, bool first) {
    float gathered[16];
#pragma unroll
    for (int m = 0; m < 16; ++m) {
        float more = v[m].x * v[m].x + v[m].y * v[m].y;
        if constexpr (MODES > 1) more += first ? 0.0f : light[m * THREADS];
        gathered[m] = more;
    }
    const float4* stray = reinterpret_cast<const float4*>(detector.background) + place;
#pragma unroll
    for (int m = 0; m < 16; ++m) {
        if constexpr (PASS == TURN) {
            if (BACKGROUND) {
                const float4 four = __ldg(stray + m / 4 * THREADS);
                const float b = m % 4 == 0 ? four.x : m % 4 == 1 ? four.y : m % 4 == 2 ? four.z : four.w;
                gathered[m] += float(SIDE) * SIDE * b;
            }
            gathered[m] = pull(gathered[m], frame.gain * amplitude[m], detector);
            v[m] = make_float2(v[m].x * gathered[m], v[m].y * gathered[m]);
        }
        if constexpr (MODES > 1) light[m * THREADS] = gathered[m];
    }
}

// Columns to the far field, what the detector makes of it, and back; then each part to its rows. FORTH leaves the far field
// in `far` and its intensity in `light`, TURN leaves there the factor of all modes, BACK takes both.
template <Pass PASS>
__device__ __forceinline__ void columns(float2* held, const Here& here, const Frame& frame, const Detector& detector,
                                        const float2* __restrict__ turn, float2* far, bool first, unsigned& phase) {
    const int rank = here.rank;
    int me = thread();
    float amplitude[16];
    if constexpr (PASS == TURN && ROUNDS == 1) read_early(amplitude, frame.amplitude, rank * ROUNDS * 4 * THREADS + me);
    if constexpr (PASS == BACK) __syncthreads();
    else {
        await_full(here.barriers, phase, 8 * PART + 4);
        phase ^= 1;
    }
    if constexpr (PASS != BACK) {
#pragma unroll AT_ONCE
        for (int item = 0; item < ITEMS; ++item) {
            const int i = me + THREADS * item, column = i % SPAN, k = i / SPAN;
            float2* base = held + k * SPAN + (column ^ turn_of(k));
            float2 v[RADIX];
#pragma unroll
            for (int j = 0; j < RADIX; ++j) v[j] = base[16 * SPAN * j];
            Dft<RADIX, false>::run(v);
            twiddle<RADIX>(v, make_float2(1.0f, 0.0f), __ldg(turn + k));
#pragma unroll
            for (int p = 0; p < RADIX; ++p) base[16 * SPAN * p] = v[p];
        }
        __syncthreads();
        me = thread();
    }
#pragma unroll 1
    for (int round = 0; round < ROUNDS; ++round) {
        const int i = me + THREADS * round, column = i % SPAN, p = i / SPAN;
        const unsigned place = (rank * ROUNDS + round) * 4 * THREADS + me;
        float2* mine = far + (rank * ROUNDS + round) * 16 * THREADS + me;
        float* light = reinterpret_cast<float*>(held + LIGHT_AT) + round * 16 * THREADS + me;
        if constexpr (PASS == TURN && ROUNDS > 1) read_early(amplitude, frame.amplitude, place);
        float2 v[16];
        if constexpr (PASS == BACK) {
#pragma unroll
            for (int m = 0; m < 16; ++m) {
                const float factor = light[m * THREADS];
                v[m] = __ldcg(mine + m * THREADS);
                v[m] = make_float2(v[m].x * factor, v[m].y * factor);
            }
        } else {
#pragma unroll
            for (int l = 0; l < 16; ++l) v[l] = held[(l + 16 * p) * SPAN + (column ^ turn_of(l))];
            Dft<16, false>::run(v);
            detect<PASS>(v, place, frame, detector, amplitude, light, first);
        }
        if constexpr (PASS == FORTH) {
#pragma unroll
            for (int m = 0; m < 16; ++m) __stcg(mine + m * THREADS, v[m]);
        } else {
            Dft<16, true>::run(v);
            const float2 w = __ldg(turn + p), start = __ldg(turn + (p * STAGGER * rank % RADIX) * 16);
            twiddle<16>(v, make_float2(start.x, -start.y), make_float2(w.x, -w.y));
#pragma unroll
            for (int l = 0; l < 16; ++l) held[(l + 16 * p) * SPAN + (column ^ turn_of(l))] = v[l];
        }
    }
    __syncthreads();
    if constexpr (PASS == FORTH) return;
    me = thread();
    float2 v[ITEMS][RADIX];
#pragma unroll
    for (int item = 0; item < ITEMS; ++item) {
        const int i = me + THREADS * item, column = i % SPAN, k = i / SPAN;
#pragma unroll
        for (int p = 0; p < RADIX; ++p) v[item][p] = held[(k + 16 * p) * SPAN + (column ^ turn_of(k))];
    }
    have_read(here.barriers);
#pragma unroll
    for (int item = 0; item < ITEMS; ++item) Dft<RADIX, true>::run(v[item]);
    await_free(here.barriers, phase);
#pragma unroll
    for (int j = 0; j < RADIX; ++j) {
        const unsigned turned_j = (j + STAGGER * rank) % RADIX, owner_rank = CLUSTER == 1 ? 0 : turned_j / (RADIX / CLUSTER);
        const unsigned owner = address_in(here.held_at, owner_rank), barriers = address_in(here.barriers, owner_rank);
#pragma unroll
        for (int item = 0; item < ITEMS; ++item) {
            const int i = me + THREADS * item, k = i / SPAN;
            const int row = (k + 16 * turned_j) % SPAN, f = rank * SPAN + i % SPAN;
            put(owner + 8 * (row * SIDE + (f ^ turn_of(row))), v[item][j], barriers);
        }
    }
}

// Rows back to the sample, the new z, and what it adds to the sums of object and probe.
template <Sums SUMS>
__device__ __forceinline__ void rows_back(float2* held, const Here& here, const Frame& frame, int mode,
                                          const float2* __restrict__ image, int width, const float2* __restrict__ turn,
                                          const Blend& blend, float2* image_sum, unsigned& phase) {
    const int me = thread(), lane = me % 32, first_row = me / 32 * WARP_ROWS, rank = here.rank;
    float2 seen[RADIX];
    if constexpr (ITEMS == 1) read_early(seen, image + (long long)(rank * SPAN + first_row + lane / 16) * width + lane % 16);
    await_full(here.barriers, phase, 8 * PART);
    phase ^= 1;
    float2 u[ROUNDS][16];
#pragma unroll
    for (int round = 0; round < ROUNDS; ++round) {
        const int i = lane + 32 * round, row = first_row + i / RADIX, p = i % RADIX;
#pragma unroll
        for (int m = 0; m < 16; ++m) u[round][m] = held[row * SIDE + ((p + RADIX * m) ^ turn_of(row))];
    }
    __syncwarp();
#pragma unroll
    for (int round = 0; round < ROUNDS; ++round) {
        const int i = lane + 32 * round, row = first_row + i / RADIX, p = i % RADIX;
        Dft<16, true>::run(u[round]);
        const float2 w = __ldg(turn + p);
        twiddle<16>(u[round], make_float2(1.0f, 0.0f), make_float2(w.x, -w.y));
#pragma unroll
        for (int l = 0; l < 16; ++l) held[swapped(row, l, p)] = u[round][l];
    }
    __syncwarp();
#pragma unroll AT_ONCE
    for (int item = ITEMS - 1; item >= 0; --item) {  // what was read last is still in the cache
        const int k = lane % 16, row = first_row + 2 * item + lane / 16, place = row * SIDE + k;
        const long long seen_at = (long long)(rank * SPAN + row) * width + k;
        const int whole = mode * PIXELS + rank * PART + place;
        float2 *z_at = frame.waves + whole, *image_at = image_sum + seen_at, *sum_at = frame.probe_sums + whole;
        float2* staying = held + SUM_AT + mode * PART + place;
        const float2 *p_at = frame.probes + whole, *o_at = image + seen_at;
        float2 v[RADIX];
#pragma unroll
        for (int p = 0; p < RADIX; ++p) v[p] = held[swapped(row, k, p)];
        Dft<RADIX, true>::run(v);
#pragma unroll
        for (int j = 0; j < RADIX; ++j) {
            const float2 p = __ldg(p_at + 16 * j), o = ITEMS == 1 ? seen[j] : __ldg(o_at + 16 * j), q = p * o;
            float2 gap = make_float2(blend.data * v[j].x, blend.data * v[j].y);
            if constexpr (KEEP) {
                const float2 was = __ldcg(z_at + 16 * j);
                gap = make_float2(gap.x + blend.keep * was.x + (blend.model - 1.0f) * q.x,
                                  gap.y + blend.keep * was.y + (blend.model - 1.0f) * q.y);
            }
            __stcs(z_at + 16 * j, q + gap);
            gap = make_float2(frame.weight * gap.x, frame.weight * gap.y);
            if constexpr (SUMS != NONE) add(image_at + 16 * j, conj_times(p, gap));
            if constexpr (SUMS == BOTH && STAYS) staying[16 * j] = staying[16 * j] + conj_times(o, gap);
            else if constexpr (SUMS == BOTH) add(sum_at + 16 * j, conj_times(o, gap));
        }
    }
}

struct Scan {  // all frames, as Active and Estimate of kernel.py hold them
    const float* amplitude;
    float2* waves;
    const long long* corners;
    const float *weights, *gains;
    const long long* shifts;
    int count;
    const float2 *probes, *image;
    int width;

    __device__ __forceinline__ Frame frame(int number, float2* probe_sums) const {
        const long long before = number * (long long)PIXELS, shift = STAYS ? 0 : shifts[number] * PIXELS * MODES;
        return Frame{amplitude + before, waves + before * MODES, probes + shift,
                     corners[2 * number] * width + corners[2 * number + 1], weights[number], gains[number],
                     probe_sums + shift * COPIES};
    }
};

// The next frame's number to every block of the cluster; it comes together with the rows of this frame.
__device__ __forceinline__ void announce(int number, unsigned next_at, unsigned barriers) {
    for (unsigned r = 0; r < CLUSTER; ++r) put(address_in(next_at, r), number, address_in(barriers, r));
}

__device__ __forceinline__ void begin_with(int number, unsigned next_at) {
    for (unsigned r = 0; r < CLUSTER; ++r) {
        if constexpr (CLUSTER > 1)
            asm volatile("st.shared::cluster.s32 [%0], %1;" :: "r"(address_in(next_at, r)), "r"(number) : "memory");
        else asm volatile("st.shared.s32 [%0], %1;" :: "r"(next_at), "r"(number) : "memory");
    }
}

// The sums that stay in shared memory, before the first frame and after the last.
__device__ __forceinline__ void settle(float2* held) {
    for (int place = threadIdx.x; place < STAYING; place += THREADS) held[SUM_AT + place] = make_float2(0.0f, 0.0f);
}
__device__ __forceinline__ void leave(const float2* held, unsigned rank, float2* probe_sums) {
    __syncthreads();
    for (int place = threadIdx.x; place < STAYING; place += THREADS)
        add(probe_sums + place / PART * PIXELS + rank * PART + place % PART, held[SUM_AT + place]);
}

template <Sums SUMS>
__device__ __forceinline__ void step(const Scan& scan, const Detector& detector, const Blend& blend, const float2* turn,
                                     float2* image_sum, float2* probe_sums, float2* far, unsigned* taken) {
    extern __shared__ float2 held[];
    __shared__ alignas(8) unsigned long long barriers[2];
    __shared__ int next[2];
    const unsigned rank = rank_in_cluster(), cluster = blockIdx.x / CLUSTER, next_at = shared_address(next);
    const Here here{rank, shared_address(held), shared_address(barriers)};
    const bool giver = rank == 0 && threadIdx.x == 0;  // of the numbers of frames
    if (SUMS == BOTH) probe_sums += (long long)(cluster % COPIES) * MODES * PIXELS;
    far += (long long)cluster * (MODES - 1) * PIXELS;
    prepare(here.barriers);
    settle(held);
    meet();
    if (giver) begin_with(atomicAdd(taken, 1u), next_at);
    meet();
    unsigned phase = 0;
    int now = next[0];
    for (int turnstile = 1; now < scan.count; turnstile ^= 1) {
        const int ticket = giver ? atomicAdd(taken, 1u) : 0;
        const Frame frame = scan.frame(now, probe_sums);
        const float2* window = scan.image + frame.corner;
#pragma unroll 1
        for (int mode = 0; mode < MODES; ++mode) {
            rows_forward(held, here.again(), frame, mode, window, scan.width, turn, blend.inside, phase);
            if (giver) announce(ticket, next_at + 4 * turnstile, here.barriers);
            if (mode == MODES - 1) break;
            columns<FORTH>(held, here.again(), frame, detector, turn, far + mode * PIXELS, mode == 0, phase);
        }
        columns<TURN>(held, here.again(), frame, detector, turn, far, MODES == 1, phase);
        const int then = next[turnstile];
#pragma unroll 1
        for (int mode = MODES - 1; mode >= 0; --mode) {
            if (mode < MODES - 1)
                columns<BACK>(held, here.again(), frame, detector, turn, far + mode * PIXELS, false, phase);
            rows_back<SUMS>(held, here.again(), frame, mode, window, scan.width, turn, blend, image_sum + frame.corner, phase);
        }
        now = then;
    }
    if (SUMS == BOTH && STAYS) leave(held, rank, probe_sums);
}

#if CLUSTER > 1
#define CLUSTER_SHAPE __cluster_dims__(CLUSTER, 1, 1)
#else
#define CLUSTER_SHAPE
#endif
#define ENTRY(NAME, SUMS)                                                                                                  \
    extern "C" __global__ void CLUSTER_SHAPE __launch_bounds__(THREADS, RESIDENT)                                          \
        NAME(const float* amplitude, float2* waves, const long long* corners, const float* weights, const float* gains,    \
             const long long* shifts, int count, const float2* probes, const float2* image, int width,                     \
             const float* background, float stiffness, float keep, float model, float data, float inside,                  \
             const float2* turn, float2* image_sum, float2* probe_sums, float2* far, unsigned* taken) {                    \
        const Scan scan{amplitude, waves, corners, weights, gains, shifts, count, probes, image, width};                   \
        step<SUMS>(scan, Detector{background, stiffness}, Blend{keep, model, data, inside}, turn, image_sum, probe_sums,   \
                   far, taken);                                                                                            \
    }

ENTRY(step_waves, NONE)
ENTRY(step_object, OBJECT)
ENTRY(step_both, BOTH)
