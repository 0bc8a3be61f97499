// Complex numbers in registers and their discrete Fourier transforms of 2 to 32 points.

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
