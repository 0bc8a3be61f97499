// How a frame of SIDE x SIDE is split over CLUSTER blocks, what those need to work on it, and how numbers go to memory.
//
// Compiled with SIDE (64, 128, 256, 512), CLUSTER and HELD (pixels of a frame in the registers of a thread) given as macros.

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

__device__ __forceinline__ unsigned rank_in_cluster() {
    if constexpr (CLUSTER == 1) return 0;
    unsigned rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
__device__ __forceinline__ unsigned address_in(unsigned local, unsigned rank) {
    unsigned remote = local;
    if constexpr (CLUSTER > 1) asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(local), "r"(rank));
    return remote;
}
// All blocks wait for each other, and see what was written. Slow: all writes to memory are waited for and the first cache is
// emptied, so it is only used to begin.
__device__ __forceinline__ void meet() {
    if constexpr (CLUSTER > 1) {
        asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
        asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
    } else __syncthreads();
}

// Two barriers in the shared memory of every block say whether its part of the frame may be written by others, once all
// warps of the cluster have read theirs, and whether all of it has come, once so many bytes were written.
constexpr unsigned FREE = 0, FULL = 8;

__device__ __forceinline__ void prepare(unsigned barriers) {
    if (CLUSTER == 1 || threadIdx.x != 0) return;
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(barriers + FREE), "r"(CLUSTER * THREADS / 32) : "memory");
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(barriers + FULL), "r"(1) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void wait_for(unsigned barrier, unsigned phase) {
    asm volatile("{\n.reg .pred done;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@!done bra again;\n}"
                 :: "r"(barrier), "r"(phase) : "memory");
}
__device__ __forceinline__ void have_read(unsigned barriers) {  // to every block; it may write into this one
    if constexpr (CLUSTER == 1) return;
    __syncwarp();
    if (threadIdx.x % 32 < CLUSTER) {
        const unsigned there = address_in(barriers + FREE, threadIdx.x % 32);
        asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" :: "r"(there) : "memory");
    }
    __syncwarp();
}
__device__ __forceinline__ void await_free(unsigned barriers, unsigned phase) {
    if constexpr (CLUSTER == 1) __syncthreads();
    else wait_for(barriers + FREE, phase);
}
__device__ __forceinline__ void await_full(unsigned barriers, unsigned phase, unsigned bytes) {
    if constexpr (CLUSTER == 1) __syncthreads();
    else {
        if (threadIdx.x == 0)
            asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(barriers + FULL), "r"(bytes) : "memory");
        wait_for(barriers + FULL, phase);
    }
}
// To shared memory of the block whose barriers are at `barriers` in the cluster.
__device__ __forceinline__ void put(unsigned address, float2 v, unsigned barriers) {
    if constexpr (CLUSTER > 1)
        asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, [%3];"
                     :: "r"(address), "f"(v.x), "f"(v.y), "r"(barriers + FULL) : "memory");
    else asm volatile("st.shared.v2.f32 [%0], {%1, %2};" :: "r"(address), "f"(v.x), "f"(v.y) : "memory");
}
__device__ __forceinline__ void put(unsigned address, int v, unsigned barriers) {
    if constexpr (CLUSTER > 1)
        asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.s32 [%0], %1, [%2];"
                     :: "r"(address), "r"(v), "r"(barriers + FULL) : "memory");
    else asm volatile("st.shared.s32 [%0], %1;" :: "r"(address), "r"(v) : "memory");
}

__device__ __forceinline__ void add(float2* target, float2 v) {
#if __CUDA_ARCH__ >= 900
    atomicAdd(target, v);
#else
    atomicAdd(&target->x, v.x);
    atomicAdd(&target->y, v.y);
#endif
}

__device__ __forceinline__ unsigned shared_address(const void* at) { return (unsigned)__cvta_generic_to_shared(at); }

// Numbers that nobody is going to read again take no place in the first cache.
__device__ __forceinline__ float2 read_once(const float2* at) {
    float2 v;
    asm volatile("ld.global.L1::no_allocate.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "l"(at));
    return v;
}

// Sixteen amplitudes of a thread, or a row of the object; they are asked for here, not where they are needed.
__device__ __forceinline__ void read_early(float (&amplitude)[16], const float* known, unsigned place) {
#pragma unroll
    for (int part = 0; part < 4; ++part) {
        const float4* four = reinterpret_cast<const float4*>(known) + place + part * THREADS;
        asm volatile("ld.global.cs.v4.f32 {%0, %1, %2, %3}, [%4];"
                     : "=f"(amplitude[4 * part]), "=f"(amplitude[4 * part + 1]), "=f"(amplitude[4 * part + 2]),
                       "=f"(amplitude[4 * part + 3]) : "l"(four));
    }
}
__device__ __forceinline__ void read_early(float2 (&seen)[RADIX], const float2* at) {
#pragma unroll
    for (int j = 0; j < RADIX; ++j)
        asm volatile("ld.global.nc.v2.f32 {%0, %1}, [%2];" : "=f"(seen[j].x), "=f"(seen[j].y) : "l"(at + 16 * j));
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
