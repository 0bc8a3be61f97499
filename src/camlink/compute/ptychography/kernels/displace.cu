// For every frame the sums over its window and its modes of Re (P dO)* (z - P O), for the slopes dO along y and x.
// One block a frame; waves and probe are read once, the windows of object and slopes come from the cache.

__device__ __forceinline__ float2 product(float2 a, float2 b) {
    return make_float2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

extern "C" __global__ void displacement_sums(const float2* waves, const float2* probes, const float2* image,
                                             const float2* slope_y, const float2* slope_x, const long long* corners,
                                             const long long* shifts, int modes, int rows, int columns, int width,
                                             float2* sums) {
    const long long frame = blockIdx.x, pixels = (long long)rows * columns;
    const float2* wave = waves + frame * modes * pixels;
    const float2* probe = probes + shifts[frame] * modes * pixels;
    const long long corner = corners[2 * frame] * width + corners[2 * frame + 1];
    float2 total = make_float2(0.0f, 0.0f);
    for (int pixel = threadIdx.x; pixel < pixels; pixel += blockDim.x) {
        const long long place = corner + (long long)(pixel / columns) * width + pixel % columns;
        const float2 o = __ldg(image + place);
        float2 gap = make_float2(0.0f, 0.0f);
        for (int mode = 0; mode < modes; ++mode) {
            const float2 p = __ldg(probe + mode * pixels + pixel), z = __ldcs(wave + mode * pixels + pixel);
            const float2 q = product(p, o), back = product(make_float2(p.x, -p.y), make_float2(z.x - q.x, z.y - q.y));
            gap = make_float2(gap.x + back.x, gap.y + back.y);
        }
        const float2 y = __ldg(slope_y + place), x = __ldg(slope_x + place);
        total.x += y.x * gap.x + y.y * gap.y;
        total.y += x.x * gap.x + x.y * gap.y;
    }
    __shared__ float2 parts[32];
    for (int reach = 16; reach; reach /= 2) {
        total.x += __shfl_down_sync(0xffffffffu, total.x, reach);
        total.y += __shfl_down_sync(0xffffffffu, total.y, reach);
    }
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = total;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int warp = 1; warp < blockDim.x / 32; ++warp)
        total = make_float2(total.x + parts[warp].x, total.y + parts[warp].y);
    sums[frame] = total;
}
