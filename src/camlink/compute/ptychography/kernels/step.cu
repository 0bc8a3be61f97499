// One iteration of z := (1-a-b) z + a P O + b P_a(c P O + (1-c) z) and the sums of what then differs from P O, in one pass.
//
// A frame of SIDE x SIDE lies in the shared memory of CLUSTER blocks that work on it together: block r owns rows
// r*SPAN .. r*SPAN+SPAN-1, and after the transposition the columns of the same numbers. Between its first read and its
// last write a frame never leaves the chip.
//
// A transform of SIDE = RADIX * 16 is two steps in registers: y = k + 16 j -> (RADIX-point over j) -> twiddle ->
// (16-point over k) -> frequency f = p + RADIX m. The inverse runs the same steps backwards, so rows are exchanged inside
// a warp, columns inside a block, and only the two transpositions go to other blocks.
//
// Compiled with SIDE (64, 128, 256, 512), CLUSTER, HELD (pixels of a
// frame in the registers of a thread), RESIDENT (blocks on a multiprocessor) and COPIES (of the probe's
// sum) given as macros.

constexpr int RADIX = SIDE / 16;
constexpr int SPAN = SIDE / CLUSTER;
constexpr int ROUNDS = HELD / 16;
constexpr int THREADS = SIDE * SIDE / (HELD * CLUSTER);
constexpr int WARP_ROWS = 32 * HELD / SIDE;
constexpr int ITEMS = HELD / RADIX;
constexpr int AT_ONCE = RADIX < 16 ? 16 / RADIX : 1;
constexpr int STAGGER16 = 16 / CLUSTER;
constexpr int STAGGER = RADIX / CLUSTER;
constexpr int BANK_ROWS = RADIX < 16 ? 16 / RADIX : 1;

static_assert(SIDE % 16 == 0 && RADIX <= 32 && RADIX * 16 == SIDE, "SIDE is a power of two from 64 to 512");
static_assert(SPAN % 16 == 0 && SPAN % RADIX == 0 && THREADS <= 1024, "CLUSTER does not suit SIDE");
static_assert((HELD == 16 || HELD == 32) && HELD >= RADIX, "HELD does not suit SIDE");
static_assert(CLUSTER == 1 || (STAGGER16 >= 1 && STAGGER >= 1), "CLUSTER does not suit SIDE");

__device__ __forceinline__ float2 operator+(float2 a, float2 b) { return make_float2(a.x + b.x, a.y + b.y); }
__device__ __forceinline__ float2 operator-(float2 a, float2 b) { return make_float2(a.x - b.x, a.y - b.y); }
__device__ __forceinline__ float2 operator*(float2 a, float2 b) {
    return make_float2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}
__device__ __forceinline__ float2 conj_times(float2 a, float2 b) {
    return make_float2(a.x * b.x + a.y * b.y, a.x * b.y - a.y * b.x);
}

__device__ __forceinline__ constexpr float cosine(int e) {  // cos(2 pi e / 32), e in 0..8
    return e == 0 ? 1.0f : e == 1 ? 0.98078528040323044913f : e == 2 ? 0.92387953251128675613f
         : e == 3 ? 0.83146961230254523708f : e == 4 ? 0.70710678118654752440f : e == 5 ? 0.55557023301960222474f
         : e == 6 ? 0.38268343236508977173f : e == 7 ? 0.19509032201612826785f : 0.0f;
}

// v * exp(-+ 2 pi i e / 32); e is a constant after unrolling, so only one branch is left.
template <bool BACK> __device__ __forceinline__ float2 turned(float2 v, int e) {
    const int quarter = e / 8, rest = e % 8;
    if (rest != 0) {
        const float c = cosine(rest), s = BACK ? cosine(8 - rest) : -cosine(8 - rest);
        v = make_float2(v.x * c - v.y * s, v.x * s + v.y * c);
    }
    if (quarter == 1) return BACK ? make_float2(-v.y, v.x) : make_float2(v.y, -v.x);
    if (quarter == 2) return make_float2(-v.x, -v.y);
    if (quarter == 3) return BACK ? make_float2(v.y, -v.x) : make_float2(-v.y, v.x);
    return v;
}

// The transform of POINTS numbers that lie in registers, natural order in and out.
template <int POINTS, bool BACK> struct Dft {
    static __device__ __forceinline__ void run(float2 (&v)[POINTS]) {
        constexpr int PART = POINTS / 4;
        float2 leg[4][PART];
#pragma unroll
        for (int q = 0; q < 4; ++q) {
#pragma unroll
            for (int i = 0; i < PART; ++i) leg[q][i] = v[4 * i + q];
            Dft<PART, BACK>::run(leg[q]);
        }
#pragma unroll
        for (int i = 0; i < PART; ++i) {
            float2 a[4];
#pragma unroll
            for (int q = 0; q < 4; ++q) a[q] = turned<BACK>(leg[q][i], q * i * (32 / POINTS));
            const float2 even = a[0] + a[2], odd = a[0] - a[2], sum = a[1] + a[3];
            const float2 side = turned<BACK>(a[1] - a[3], 8);
            v[i] = even + sum;
            v[i + PART] = odd + side;
            v[i + 2 * PART] = even - sum;
            v[i + 3 * PART] = odd - side;
        }
    }
};
template <bool BACK> struct Dft<2, BACK> {
    static __device__ __forceinline__ void run(float2 (&v)[2]) {
        const float2 a = v[0], b = v[1];
        v[0] = a + b;
        v[1] = a - b;
    }
};
template <bool BACK> struct Dft<1, BACK> {
    static __device__ __forceinline__ void run(float2 (&)[1]) {}
};

// v[i] *= first * w^i, in four interleaved chains so that rounding errors do not pile up.
template <int POINTS> __device__ __forceinline__ void twiddle(float2 (&v)[POINTS], float2 first, float2 w) {
    float2 chain[4];
    const float2 w2 = w * w, w4 = w2 * w2;
    chain[0] = first;
    chain[1] = first * w;
    chain[2] = first * w2;
    chain[3] = chain[1] * w2;
#pragma unroll
    for (int i = 0; i < POINTS; ++i) {
        v[i] = v[i] * chain[i % 4];
        if (i + 4 < POINTS) chain[i % 4] = chain[i % 4] * w4;
    }
}

// --- the cluster ---------------------------------------------------------------------------------------------------

__device__ __forceinline__ unsigned rank_in_cluster() {
    if constexpr (CLUSTER == 1) return 0;
    unsigned rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
__device__ __forceinline__ void arrive() {
    if constexpr (CLUSTER > 1) asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void wait() {
    if constexpr (CLUSTER > 1) asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
    else __syncthreads();
}
__device__ __forceinline__ unsigned address_in(unsigned local, unsigned rank) {
    unsigned remote = local;
    if constexpr (CLUSTER > 1) asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(local), "r"(rank));
    return remote;
}
__device__ __forceinline__ void put(unsigned address, float2 v) {
    if constexpr (CLUSTER > 1) asm volatile("st.shared::cluster.v2.f32 [%0], {%1, %2};" :: "r"(address), "f"(v.x), "f"(v.y) : "memory");
    else asm volatile("st.shared.v2.f32 [%0], {%1, %2};" :: "r"(address), "f"(v.x), "f"(v.y) : "memory");
}
__device__ __forceinline__ void put(unsigned address, int v) {
    if constexpr (CLUSTER > 1) asm volatile("st.shared::cluster.s32 [%0], %1;" :: "r"(address), "r"(v) : "memory");
    else asm volatile("st.shared.s32 [%0], %1;" :: "r"(address), "r"(v) : "memory");
}

// --- memory --------------------------------------------------------------------------------------------------------

__device__ __forceinline__ void add(float2* target, float2 v) {
#if __CUDA_ARCH__ >= 900
    atomicAdd(target, v);
#else
    atomicAdd(&target->x, v.x);
    atomicAdd(&target->y, v.y);
#endif
}

// Rows of fewer than 16 threads would meet in the same banks: neighbouring rows are turned against each other.
__device__ __forceinline__ int turn_of(int row) { return BANK_ROWS == 1 ? 0 : RADIX * (row % BANK_ROWS); }

__device__ __forceinline__ int swapped(int row, int k, int p) {
    return (row * SIDE + (k ^ turn_of(row))) ^ (p * 16 + p % 16);
}

// The number as if it were new: else the compiler keeps all addresses made of it over the loop of frames and spills them.
template <typename T> __device__ __forceinline__ T anew(T number) {
    asm volatile("" : "+r"(number));
    return number;
}
__device__ __forceinline__ int thread() { return anew(int(threadIdx.x)); }

struct Blend { float keep, model, data, inside; };  // 1-a-b, a, b, c

struct Frame {
    const float* amplitude;
    float2* wave;
    long long corner;  // of the window, in the flat object
    float weight;
};

// Rows of c P O + (1-c) z, transformed; then each part to the block that owns its columns.
__device__ __forceinline__ void rows_forward(float2* held, unsigned held_at, unsigned rank, const Frame& frame,
                                             const float2* __restrict__ probe, const float2* __restrict__ image, int width,
                                             const float2* __restrict__ turn, const Blend& blend) {
    const int me = thread(), lane = me % 32, first_row = me / 32 * WARP_ROWS, k = lane % 16;
    const float2 w = __ldg(turn + k), start = __ldg(turn + (k * STAGGER16 * rank % 16) * RADIX);
#pragma unroll AT_ONCE
    for (int item = 0; item < ITEMS; ++item) {
        const int row = first_row + 2 * item + lane / 16;
        const int pixel = (rank * SPAN + row) * SIDE + k;
        const float2* o = image + frame.corner + (long long)(rank * SPAN + row) * width + k;
        float2 v[RADIX];
#pragma unroll
        for (int j = 0; j < RADIX; ++j) {
            const float2 q = __ldg(probe + pixel + 16 * j) * __ldg(o + 16 * j);
            const float2 z = __ldcg(frame.wave + pixel + 16 * j);
            v[j] = make_float2(blend.inside * q.x + (1.0f - blend.inside) * z.x,
                               blend.inside * q.y + (1.0f - blend.inside) * z.y);
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
    arrive();
#pragma unroll
    for (int round = 0; round < ROUNDS; ++round) Dft<16, false>::run(v[round]);
    wait();
#pragma unroll
    for (int m = 0; m < 16; ++m) {  // the twiddles moved the frequencies round, so that each block begins at itself
        const unsigned turned_m = (m + STAGGER16 * rank) % 16;
        const unsigned owner = address_in(held_at, CLUSTER == 1 ? 0 : turned_m / (16 / CLUSTER));
        const int column = turned_m * RADIX % SPAN;
#pragma unroll
        for (int round = 0; round < ROUNDS; ++round) {
            const int i = lane + 32 * round, row = first_row + i / RADIX, y = rank * SPAN + row;
            put(owner + 8 * (y * SPAN + ((column + i % RADIX) ^ turn_of(row))), v[round][m]);
        }
    }
}

// Columns to the far field, made to have the measured amplitude there, and back; then each part to its rows.
__device__ __forceinline__ void columns(float2* held, unsigned held_at, unsigned rank, const Frame& frame,
                                        const float2* __restrict__ turn) {
    int me = thread();
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
#pragma unroll 1
    for (int round = 0; round < ROUNDS; ++round) {
        const int i = me + THREADS * round, column = i % SPAN, p = i / SPAN;
        const float4* known = reinterpret_cast<const float4*>(frame.amplitude) + (rank * ROUNDS + round) * 4 * THREADS;
        float amplitude[16];
#pragma unroll
        for (int part = 0; part < 4; ++part)
            reinterpret_cast<float4*>(amplitude)[part] = __ldcs(known + part * THREADS + me);
        float2 v[16];
#pragma unroll
        for (int l = 0; l < 16; ++l) v[l] = held[(l + 16 * p) * SPAN + (column ^ turn_of(l))];
        Dft<16, false>::run(v);
#pragma unroll
        for (int m = 0; m < 16; ++m) {
            const float a = amplitude[m];
            const float scale = a < 0.0f ? 1.0f / (float(SIDE) * SIDE)
                                         : a * (1.0f / SIDE) * rsqrtf(v[m].x * v[m].x + v[m].y * v[m].y + 1e-30f);
            v[m] = make_float2(v[m].x * scale, v[m].y * scale);
        }
        Dft<16, true>::run(v);
        const float2 w = __ldg(turn + p), start = __ldg(turn + (p * STAGGER * rank % RADIX) * 16);
        twiddle<16>(v, make_float2(start.x, -start.y), make_float2(w.x, -w.y));
#pragma unroll
        for (int l = 0; l < 16; ++l) held[(l + 16 * p) * SPAN + (column ^ turn_of(l))] = v[l];
    }
    __syncthreads();
    me = thread();
    float2 v[ITEMS][RADIX];
#pragma unroll
    for (int item = 0; item < ITEMS; ++item) {
        const int i = me + THREADS * item, column = i % SPAN, k = i / SPAN;
#pragma unroll
        for (int p = 0; p < RADIX; ++p) v[item][p] = held[(k + 16 * p) * SPAN + (column ^ turn_of(k))];
    }
    arrive();
#pragma unroll
    for (int item = 0; item < ITEMS; ++item) Dft<RADIX, true>::run(v[item]);
    wait();
#pragma unroll
    for (int j = 0; j < RADIX; ++j) {
        const unsigned turned_j = (j + STAGGER * rank) % RADIX;
        const unsigned owner = address_in(held_at, CLUSTER == 1 ? 0 : turned_j / (RADIX / CLUSTER));
#pragma unroll
        for (int item = 0; item < ITEMS; ++item) {
            const int i = me + THREADS * item, k = i / SPAN;
            const int row = (k + 16 * turned_j) % SPAN, f = rank * SPAN + i % SPAN;
            put(owner + 8 * (row * SIDE + (f ^ turn_of(row))), v[item][j]);
        }
    }
}

// Rows back to the sample, the new z, and what it adds to the sums of object and probe.
template <bool PROBE_SUM>
__device__ __forceinline__ void rows_back(float2* held, unsigned rank, const Frame& frame,
                                          const float2* __restrict__ probe, const float2* __restrict__ image, int width,
                                          const float2* __restrict__ turn, const Blend& blend, float2* image_sum,
                                          float2* probe_sum) {
    const int me = thread(), lane = me % 32, first_row = me / 32 * WARP_ROWS;
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
        const int k = lane % 16, row = first_row + 2 * item + lane / 16;
        const int pixel = (rank * SPAN + row) * SIDE + k;
        const long long place = frame.corner + (long long)(rank * SPAN + row) * width + k;
        float2 v[RADIX], before[RADIX];
        if constexpr (HELD == 32) {  // the registers suffice to wait for z behind the transform
#pragma unroll
            for (int j = 0; j < RADIX; ++j) before[j] = __ldcg(frame.wave + pixel + 16 * j);
        }
#pragma unroll
        for (int p = 0; p < RADIX; ++p) v[p] = held[swapped(row, k, p)];
        Dft<RADIX, true>::run(v);
#pragma unroll
        for (int j = 0; j < RADIX; ++j) {
            const float2 p = __ldg(probe + pixel + 16 * j), o = __ldg(image + place + 16 * j);
            const float2 q = p * o, was = HELD == 32 ? before[j] : __ldcg(frame.wave + pixel + 16 * j);
            float2 z = make_float2(blend.keep * was.x + blend.model * q.x + blend.data * v[j].x,
                                   blend.keep * was.y + blend.model * q.y + blend.data * v[j].y);
            __stcs(frame.wave + pixel + 16 * j, z);
            z = make_float2(frame.weight * (z.x - q.x), frame.weight * (z.y - q.y));
            add(image_sum + place + 16 * j, conj_times(p, z));
            if constexpr (PROBE_SUM) add(probe_sum + pixel + 16 * j, conj_times(o, z));
        }
    }
}

template <bool PROBE_SUM>
__device__ __forceinline__ void step(const float* amplitude, float2* waves, const long long* corners, const float* weights,
                                     int count, const float2* probe, const float2* image, int width, const float2* turn,
                                     Blend blend, float2* image_sum, float2* probe_sums, unsigned* taken) {
    extern __shared__ float2 held[];
    __shared__ int next[2];
    const unsigned rank = rank_in_cluster(), cluster = blockIdx.x / CLUSTER, clusters = gridDim.x / CLUSTER;
    const unsigned held_at = (unsigned)__cvta_generic_to_shared(held), next_at = (unsigned)__cvta_generic_to_shared(next);
    float2* probe_sum = PROBE_SUM ? probe_sums + (long long)(cluster % COPIES) * SIDE * SIDE : nullptr;
    arrive();
    wait();
    int now = cluster;
    for (int turnstile = 0; now < count; turnstile ^= 1) {
        if (rank == 0 && threadIdx.x == 0) {  // the next frame's number is at every block before this frame is done
            const int ticket = clusters + atomicAdd(taken, 1u);
            for (unsigned r = 0; r < CLUSTER; ++r) put(address_in(next_at + 4 * turnstile, r), ticket);
        }
        const Frame frame{amplitude + (long long)now * SIDE * SIDE, waves + (long long)now * SIDE * SIDE,
                          corners[2 * now] * width + corners[2 * now + 1], weights[now]};
        rows_forward(held, anew(held_at), anew(rank), frame, probe, image, width, turn, blend);
        arrive();
        wait();
        const int then = next[turnstile];
        columns(held, anew(held_at), anew(rank), frame, turn);
        arrive();
        wait();
        rows_back<PROBE_SUM>(held, anew(rank), frame, probe, image, width, turn, blend, image_sum, probe_sum);
        now = then;
    }
}

#define ENTRY(NAME, PROBE_SUM)                                                                                           \
    extern "C" __global__ void CLUSTER_SHAPE __launch_bounds__(THREADS, RESIDENT)                                        \
        NAME(const float* amplitude, float2* waves, const long long* corners, const float* weights, int count,           \
             const float2* probe, const float2* image, int width, const float2* turn, float keep, float model,           \
             float data, float inside, float2* image_sum, float2* probe_sums, unsigned* taken) {                         \
        step<PROBE_SUM>(amplitude, waves, corners, weights, count, probe, image, width, turn,                            \
                        Blend{keep, model, data, inside}, image_sum, probe_sums, taken);                                 \
    }
#if CLUSTER > 1
#define CLUSTER_SHAPE __cluster_dims__(CLUSTER, 1, 1)
#else
#define CLUSTER_SHAPE
#endif

ENTRY(step_object, false)
ENTRY(step_both, true)

extern "C" __global__ void join_copies(const float2* apart, float2* joined, int pixels, int copies) {
    const int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= pixels) return;
    float2 total = make_float2(0.0f, 0.0f);
#pragma unroll 8
    for (int copy = 0; copy < copies; ++copy) total = total + apart[(long long)copy * pixels + pixel];
    joined[pixel] = total;
}
