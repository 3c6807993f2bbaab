// Products of bytes by a CPU's tiles (AMX): registers of 16 rows of 64 bytes, of which one instruction multiplies two.

#pragma once

#if defined(__AMX_INT8__) && defined(__AVX512VNNI__) && defined(__linux__)
#define SML_JAX_TILES
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#include "int8_kernel.h"

namespace sml_jax {

constexpr int64_t kTileRows = 16, kTileBytes = 64;

// Whether this process may use tiles: Linux gives their registers only to those who ask.
inline bool TilesAllowed() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool allowed = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return allowed;
}

// While it lives, the thread's eight tiles have all of their rows and bytes.
class Tiles {
 public:
  Tiles() { _tile_loadconfig(&kShape); }
  ~Tiles() { _tile_release(); }

  // sums[part][block][row][column] of 16 rows and two blocks of 16 columns.
  //
  // high, low: signed bytes, whose rows are `stride` bytes apart. first, second: the blocks. steps: of 64 bytes.
  void Multiply(const int8_t* high, const int8_t* low, int64_t stride, const uint8_t* first, const uint8_t* second,
                int64_t steps, int32_t (*sums)[2][kTileRows][kBlockColumns]) const {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t i = 0; i < steps; ++i) {
      _tile_loadd(6, first + i * kTileRows * kTileBytes, kTileBytes);
      _tile_loadd(7, second + i * kTileRows * kTileBytes, kTileBytes);
      _tile_loadd(4, high + i * kTileBytes, stride);
      _tile_dpbsud(0, 4, 6);
      _tile_dpbsud(1, 4, 7);
      _tile_loadd(5, low + i * kTileBytes, stride);
      _tile_dpbsud(2, 5, 6);
      _tile_dpbsud(3, 5, 7);
    }
    _tile_stored(0, sums[0][0], kTileBytes);
    _tile_stored(1, sums[0][1], kTileBytes);
    _tile_stored(2, sums[1][0], kTileBytes);
    _tile_stored(3, sums[1][1], kTileBytes);
  }

 private:
  struct Shape {
    uint8_t palette, first_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  };
  static constexpr Shape kShape{1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
};

}  // namespace sml_jax

#endif
