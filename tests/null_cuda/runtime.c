// A CUDA runtime without a GPU: memory is the host's, copies are real, kernels do nothing and are counted.
//
// Environment: NULL_CUDA_DEVICES (how many, 1), NULL_CUDA_BYTES (memory of each card), NULL_CUDA_USED (bytes of it that
// others hold), NULL_CUDA_FAST (copies within the device are skipped).
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API __attribute__((visibility("default")))
#define OK return cudaSuccess
#define GIB (1UL << 30)

// What tests read and set, by these names.
API unsigned long null_launches, null_waits, null_memsets, null_mallocs, null_graphs, null_replays, null_blas, null_dnn;
API unsigned long null_copies[5];  // by cudaMemcpyKind
API int null_dead;                 // a cudaError that every later call gives: a context that died

static unsigned long setting(const char *name, unsigned long otherwise) {
  const char *text = getenv(name);
  return text ? strtoull(text, 0, 10) : otherwise;
}

// ---- a capturing stream refuses what waits for the device, and copies of memory that is not pinned
static int capturing, spoiled;
static cudaError_t refused(void) { spoiled = 1; return cudaErrorStreamCaptureUnsupported; }
static cudaError_t waits(void) {
  if (null_dead) return null_dead;
  if (capturing) return refused();
  null_waits++;
  OK;
}

// ---- devices
static __thread int here;
API cudaError_t cudaGetDeviceCount(int *n) { *n = setting("NULL_CUDA_DEVICES", 1); OK; }
API cudaError_t cudaGetDevice(int *d) { *d = here; OK; }
API cudaError_t cudaSetDevice(int d) { here = d; OK; }
API cudaError_t cudaDriverGetVersion(int *v) { *v = 13020; OK; }
API cudaError_t cudaRuntimeGetVersion(int *v) { *v = 13020; OK; }
API cudaError_t cudaGetLastError(void) { OK; }
API const char *cudaGetErrorName(cudaError_t e) { return "cudaErrorOfNullCuda"; }
API const char *cudaGetErrorString(cudaError_t e) {
  switch (e) {
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated: return "operation failed due to a previous error during capture";
    default: return "an error of null CUDA";
  }
}
API cudaError_t cudaPeekAtLastError(void) { OK; }
API cudaError_t cudaDeviceCanAccessPeer(int *can, int a, int b) { *can = 0; OK; }
API cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) { *least = 0; *greatest = -5; OK; }
API cudaError_t cudaDeviceGetPCIBusId(char *s, int n, int d) { snprintf(s, n, "0000:%02x:00.0", d); OK; }
API cudaError_t cudaDeviceSynchronize(void) { return waits(); }
API cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int d) {
  memset(p, 0, sizeof *p);
  strcpy(p->name, "Null H200");
  memset(&p->uuid, 0x42 + d, 16);
  p->major = 9; p->warpSize = 32; p->multiProcessorCount = 132; p->asyncEngineCount = 3;
  p->totalGlobalMem = setting("NULL_CUDA_BYTES", 140 * GIB); p->totalConstMem = 65536; p->l2CacheSize = 60 << 20;
  p->sharedMemPerBlock = 49152; p->sharedMemPerMultiprocessor = 233472; p->sharedMemPerBlockOptin = 232448;
  p->regsPerBlock = p->regsPerMultiprocessor = 65536; p->textureAlignment = 512;
  p->maxThreadsPerBlock = p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024; p->maxThreadsDim[2] = 64;
  p->maxThreadsPerMultiProcessor = 2048; p->maxBlocksPerMultiProcessor = 32;
  p->maxGridSize[0] = 2147483647; p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->unifiedAddressing = p->concurrentKernels = p->canMapHostMemory = 1;
  OK;
}
API cudaError_t cudaDeviceGetAttribute(int *v, enum cudaDeviceAttr a, int d) {
  struct cudaDeviceProp p;
  cudaGetDeviceProperties(&p, d);
  switch (a) {
    case cudaDevAttrComputeCapabilityMajor: *v = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *v = p.minor; break;
    case cudaDevAttrMultiProcessorCount: *v = p.multiProcessorCount; break;
    case cudaDevAttrWarpSize: *v = p.warpSize; break;
    case cudaDevAttrMaxThreadsPerBlock: *v = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *v = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *v = p.sharedMemPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *v = p.sharedMemPerBlockOptin; break;
    case cudaDevAttrMaxGridDimX: *v = p.maxGridSize[0]; break;
    default: *v = 1;
  }
  OK;
}

// ---- memory: fresh memory is zero; what is pinned is remembered
static unsigned long used[64];
API unsigned long null_bytes(int device) { return used[device]; }
API cudaError_t cudaMemGetInfo(size_t *free_, size_t *total) {
  *total = setting("NULL_CUDA_BYTES", 140 * GIB);
  *free_ = *total - used[here] - setting("NULL_CUDA_USED", 0);
  OK;
}
API cudaError_t cudaMalloc(void **p, size_t n) {
  size_t free_, total, *block;
  null_mallocs++;
  *p = 0;
  if (null_dead) return null_dead;
  cudaMemGetInfo(&free_, &total);
  if (n > free_ || !(block = calloc(1, n + 8192))) return cudaErrorMemoryAllocation;
  size_t *start = (size_t *)(((size_t)block + 8191) & ~4095UL);
  start[-1] = (size_t)block; start[-2] = n; start[-3] = here;
  used[here] += n;
  *p = start;
  OK;
}
API cudaError_t cudaFree(void *p) {
  if (null_dead) return null_dead;
  if (!p) OK;
  size_t *start = p;
  used[start[-3]] -= start[-2];
  free((void *)start[-1]);
  OK;
}
static struct { char *start; size_t bytes; } pinned[4096];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int is_pinned(const void *p) {
  for (int i = 0; i < 4096; i++)
    if (pinned[i].start && (char *)p >= pinned[i].start && (char *)p < pinned[i].start + pinned[i].bytes) return 1;
  return 0;
}
API cudaError_t cudaHostAlloc(void **p, size_t n, unsigned flags) {
  *p = calloc(1, n);
  pthread_mutex_lock(&lock);
  int i = 0;
  while (i < 4095 && pinned[i].start) i++;
  pinned[i].start = *p; pinned[i].bytes = n;
  pthread_mutex_unlock(&lock);
  OK;
}
API cudaError_t cudaMallocHost(void **p, size_t n) { return cudaHostAlloc(p, n, 0); }
API cudaError_t cudaFreeHost(void *p) {
  for (int i = 0; i < 4096; i++) if (pinned[i].start == p) pinned[i].start = 0;
  free(p);
  OK;
}
API cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p) {
  memset(a, 0, sizeof *a);
  a->type = is_pinned(p) ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
  OK;
}
API cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, enum cudaMemcpyKind kind, cudaStream_t s) {
  if (null_dead) return null_dead;
  const void *host = kind == cudaMemcpyDeviceToHost ? to : kind == cudaMemcpyHostToDevice ? from : 0;
  if (capturing && host && !is_pinned(host)) return refused();
  null_copies[kind]++;
  if (kind != cudaMemcpyDeviceToDevice || !getenv("NULL_CUDA_FAST")) memmove(to, from, n);
  OK;
}
API cudaError_t cudaMemcpy(void *to, const void *from, size_t n, enum cudaMemcpyKind kind) {
  cudaError_t failed = cudaMemcpyAsync(to, from, n, kind, 0);
  return failed ? failed : waits();
}
API cudaError_t cudaMemsetAsync(void *p, int value, size_t n, cudaStream_t s) {
  null_memsets++;
  if (!getenv("NULL_CUDA_FAST")) memset(p, value, n);
  return null_dead;
}
API cudaError_t cudaMemset(void *p, int value, size_t n) { return cudaMemsetAsync(p, value, n, 0); }

// ---- kernels
static cudaError_t launched(void) { null_launches++; return null_dead; }
API cudaError_t cudaLaunchKernel(const void *f, dim3 g, dim3 b, void **a, size_t m, cudaStream_t s) { return launched(); }
API cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *c, const void *f, void **a) { return launched(); }
API cudaError_t __cudaLaunchKernel(void *k, dim3 g, dim3 b, void **a, size_t m, cudaStream_t s) { return launched(); }
API cudaError_t __cudaGetKernel(void **k, const void *f) { *k = (void *)f; OK; }
API cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *a, const void *f) {
  memset(a, 0, sizeof *a);
  a->maxThreadsPerBlock = 1024; a->numRegs = 32; a->binaryVersion = a->ptxVersion = 90;
  a->maxDynamicSharedSizeBytes = 49152;
  OK;
}
API cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, const void *f, int b, size_t m) { *n = 2; OK; }
API cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, const void *f, int b, size_t m, unsigned g) {
  *n = 2; OK;
}
API cudaError_t cudaLaunchHostFunc(cudaStream_t s, cudaHostFn_t f, void *data) { f(data); OK; }
static int nothing(void) { return 0; }
API cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **p, unsigned version, unsigned long long flags,
                                                 enum cudaDriverEntryPointQueryResult *found) {
  *p = (void *)nothing;
  if (found) *found = cudaDriverEntryPointSuccess;
  OK;
}

// ---- streams and events: all work is done as soon as it is asked for
static cudaError_t made(void *p) { *(void **)p = malloc(8); OK; }
API cudaError_t cudaEventCreate(cudaEvent_t *e) { return made(e); }
API cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned f) { return made(e); }
API cudaError_t cudaEventDestroy(cudaEvent_t e) { free(e); OK; }
API cudaError_t cudaEventSynchronize(cudaEvent_t e) { return waits(); }
API cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t a, cudaEvent_t b) { *ms = 1; OK; }
API cudaError_t cudaStreamCreate(cudaStream_t *s) { return made(s); }
API cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned f) { return made(s); }
API cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned f, int p) { return made(s); }
API cudaError_t cudaStreamDestroy(cudaStream_t s) { free(s); OK; }
API cudaError_t cudaStreamGetPriority(cudaStream_t s, int *p) { *p = 0; OK; }
API cudaError_t cudaStreamSynchronize(cudaStream_t s) { return waits(); }

// ---- graphs: capture is checked, a replay does nothing
API cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode m) { capturing = 1; OK; }
API cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g) {
  int failed = spoiled;
  capturing = spoiled = 0;
  if (failed) return cudaErrorStreamCaptureInvalidated;
  null_graphs++;
  return made(g);
}
API cudaError_t cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus *status) {
  *status = capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  OK;
}
API cudaError_t cudaStreamGetCaptureInfo(cudaStream_t s, enum cudaStreamCaptureStatus *status, unsigned long long *id,
                                         cudaGraph_t *g, const cudaGraphNode_t **nodes, const cudaGraphEdgeData **edges,
                                         size_t *n) {
  if (id) *id = 1;
  if (g) *g = (void *)8;
  if (n) *n = 0;
  return cudaStreamIsCapturing(s, status);
}
API cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *m) { *m = cudaStreamCaptureModeGlobal; OK; }
API cudaError_t cudaGraphGetNodes(cudaGraph_t g, cudaGraphNode_t *nodes, size_t *n) { *n = 1; OK; }
API cudaError_t cudaGraphInstantiate(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long f) { return made(e); }
API cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long f) { return made(e); }
API cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s) { null_replays++; return null_dead; }
API cudaError_t cudaUserObjectCreate(cudaUserObject_t *o, void *p, cudaHostFn_t f, unsigned c, unsigned g) { return made(o); }
