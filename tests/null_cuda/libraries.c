// The functions of cuBLAS and cuDNN that must answer something; build.py makes one line of each other.
//
// Arguments are taken as machine words, so that no header of these libraries is needed: a word is a pointer or a number.
#include <stdlib.h>
#include <string.h>
#define API __attribute__((visibility("default")))
extern unsigned long null_dnn;

#define WORDS long a0, long a1, long a2, long a3, long a4, long a5, long a6, long a7, long a8, long a9, long a10, \
              long a11, long a12, long a13, long a14, long a15
// A call that gives a value by the pointer in one of its arguments.
#define GIVES(name, type, word, value) API int name(WORDS) { *(type *)(word) = (value); return 0; }

GIVES(cublasGetMathMode, int, a1, 0)
GIVES(cublasGetPointerMode_v2, int, a1, 0)
API size_t cublasLtGetVersion(void) { return 130401; }
API int cublasLtMatmulAlgoGetHeuristic(WORDS) { memset((void *)a8, 0, 96); *(int *)a9 = 1; return 0; }

// cuDNN: one algorithm of every kind, without a workspace.
#define ONE_ALGORITHM(name, count, results) \
  API int name(WORDS) { memset((void *)(results), 0, 48); *(int *)(results) = 1; *(int *)(count) = 1; return 0; }
ONE_ALGORITHM(cudnnFindConvolutionForwardAlgorithmEx, a9, a10)
ONE_ALGORITHM(cudnnFindConvolutionBackwardDataAlgorithmEx, a9, a10)
ONE_ALGORITHM(cudnnFindConvolutionBackwardFilterAlgorithmEx, a9, a10)
ONE_ALGORITHM(cudnnGetConvolutionForwardAlgorithm_v7, a6, a7)
ONE_ALGORITHM(cudnnGetConvolutionBackwardDataAlgorithm_v7, a6, a7)
ONE_ALGORITHM(cudnnGetConvolutionBackwardFilterAlgorithm_v7, a6, a7)
GIVES(cudnnGetConvolutionForwardWorkspaceSize, size_t, a6, 0)
GIVES(cudnnGetConvolutionBackwardDataWorkspaceSize, size_t, a6, 0)
GIVES(cudnnGetConvolutionBackwardFilterWorkspaceSize, size_t, a6, 0)
GIVES(cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize, size_t, a8, 0)
GIVES(cudnnGetBatchNormalizationBackwardExWorkspaceSize, size_t, a10, 0)
GIVES(cudnnGetBatchNormalizationTrainingExReserveSpaceSize, size_t, a5, 0)
API size_t cudnnGetVersion(void) { return 92600; }
API size_t cudnnGetCudartVersion(void) { return 13020; }
API const char *cudnnGetErrorString(int e) { return "null cuDNN"; }
API void cudnnGetLastErrorString(char *s, size_t n) { *s = 0; }

// cuDNN's graphs: whatever is asked for is there once, and every number is 0.
enum { NUMBER = 3, DESCRIPTOR = 15, OPERATION_GRAPH_ENGINES = 202 };
API int cudnnBackendExecute(void *handle, void *plan, void *pack) { null_dnn++; return 0; }
API int cudnnBackendGetAttribute(void *descriptor, int name, int type, long wanted, long *count, long *found) {
  int there = name == OPERATION_GRAPH_ENGINES || (found && (type == NUMBER || type == DESCRIPTOR) && wanted >= 1);
  if (type == NUMBER && there && found) *found = 0;
  if (count) *count = there;
  return 0;
}
