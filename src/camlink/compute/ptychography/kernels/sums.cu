// The sums of a step, after it: the copies of the probe's sums joined, or all sums gathered from the waves in an order that
// is the same in every run.
//
// Compiled with SIDE, MODES and COPIES given as macros, after fourier.cu.

constexpr int TILE_X = 32, TILE_Y = 8, TILE = TILE_X * TILE_Y;

// joined[row] = sum over copies of apart[row][copy]; `pixels` of all modes in a copy, a row for each shift.
extern "C" __global__ void join_copies(const float2* apart, float2* joined, int pixels, int rows) {
    const int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= pixels || blockIdx.y >= rows) return;
    apart += (long long)blockIdx.y * COPIES * pixels + pixel;
    float2 total = make_float2(0.0f, 0.0f);
#pragma unroll 8
    for (int copy = 0; copy < COPIES; ++copy) total = total + apart[(long long)copy * pixels];
    joined[(long long)blockIdx.y * pixels + pixel] = total;
}

// How many of the threads before this one have `mine`, and of all the block.
__device__ __forceinline__ int rank_among(bool mine, int* counts, int& all) {
    const unsigned votes = __ballot_sync(~0u, mine);
    const int warp = threadIdx.x / 32;
    if (threadIdx.x % 32 == 0) counts[warp] = __popc(votes);
    __syncthreads();
    int before = __popc(votes & ((1u << threadIdx.x % 32) - 1));
    all = 0;
    for (int other = 0; other < TILE / 32; ++other) {
        before += other < warp ? counts[other] : 0;
        all += counts[other];
    }
    return before;
}

// sum over frames of w P* (z - P O_j): a block for each tile of the object, which looks for its frames first.
extern "C" __global__ void __launch_bounds__(TILE)
    gather_object(const float2* waves, const long long* corners, const float* weights, const long long* shifts, int count,
                  const float2* probes, const float2* image, int height, int width, float2* image_sum) {
    constexpr long long PIXELS = SIDE * SIDE;
    __shared__ int found[TILE], counts[TILE / 32];
    const int left = blockIdx.x * TILE_X, top = blockIdx.y * TILE_Y;
    const int x = left + threadIdx.x % TILE_X, y = top + threadIdx.x / TILE_X;
    const bool inside = x < width && y < height;
    const float2 o = inside ? image[(long long)y * width + x] : make_float2(0.0f, 0.0f);
    float2 total = make_float2(0.0f, 0.0f);
    for (int start = 0; start < count; start += TILE) {
        const int tried = start + threadIdx.x;
        bool near = false;
        if (tried < count) {
            const long long dy = corners[2 * tried] - top, dx = corners[2 * tried + 1] - left;
            near = dy > -SIDE && dy < TILE_Y && dx > -SIDE && dx < TILE_X;
        }
        int all;
        const int place = rank_among(near, counts, all);
        if (near) found[place] = tried;
        __syncthreads();
        for (int i = 0; i < all; ++i) {
            const int j = found[i];
            const long long dy = y - corners[2 * j], dx = x - corners[2 * j + 1];
            if (!inside || dy < 0 || dy >= SIDE || dx < 0 || dx >= SIDE) continue;
            for (int mode = 0; mode < MODES; ++mode) {
                const float2 p = probes[(shifts[j] * MODES + mode) * PIXELS + dy * SIDE + dx];
                const float2 gap = __ldcs(waves + (j * (long long)MODES + mode) * PIXELS + dy * SIDE + dx) - p * o;
                const float2 more = conj_times(p, gap);
                total = make_float2(total.x + weights[j] * more.x, total.y + weights[j] * more.y);
            }
        }
        __syncthreads();
    }
    if (inside) image_sum[(long long)y * width + x] = total;
}

// sum over the frames of each shift of w O_j* (z - P O_j), in COPIES parts of the frames: (shift, copy, mode, y, x).
extern "C" __global__ void __launch_bounds__(TILE)
    gather_probe(const float2* waves, const long long* corners, const float* weights, const long long* shifts, int count,
                 const float2* probes, const float2* image, int width, int rows, float2* apart) {
    constexpr int PIXELS = SIDE * SIDE;
    const int pixel = blockIdx.x * TILE + threadIdx.x, copy = blockIdx.y, mode = blockIdx.z;
    const int share = (count + COPIES - 1) / COPIES, first = copy * share, end = min(count, first + share);
    const int y = pixel / SIDE, x = pixel % SIDE;
    for (int row = 0; row < rows; ++row) {
        const float2 p = probes[((long long)row * MODES + mode) * PIXELS + pixel];
        float2 total = make_float2(0.0f, 0.0f);
#pragma unroll 4
        for (int j = first; j < end; ++j) {
            if (rows > 1 && shifts[j] != row) continue;
            const float2 o = image[(corners[2 * j] + y) * width + corners[2 * j + 1] + x];
            const float2 gap = __ldcs(waves + (j * (long long)MODES + mode) * PIXELS + pixel) - p * o;
            const float2 more = conj_times(o, gap);
            total = make_float2(total.x + weights[j] * more.x, total.y + weights[j] * more.y);
        }
        apart[(((long long)row * COPIES + copy) * MODES + mode) * PIXELS + pixel] = total;
    }
}
