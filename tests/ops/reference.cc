#include "ops/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace inkling::reference {

Values values(const Tensor& t) {
  const auto s = t.span<float>();
  return Values(s.begin(), s.end());
}

double nmse(const Tensor& got, const Values& want) {
  const auto g = got.span<float>();
  if (g.size() != want.size()) return std::numeric_limits<double>::infinity();
  double error = 0, power = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += (g[i] - want[i]) * (g[i] - want[i]);
    power += want[i] * want[i];
  }
  if (std::isnan(error)) return std::numeric_limits<double>::infinity();
  return power > 0 ? error / power : error;
}

Values linear(const Tensor& x, const Tensor& w, const Tensor& bias) {
  const int64_t m = x.rows(), k = x.channels(), n = w.dim(0);
  const float *a = x.data<float>(), *b = w.data<float>();
  Values y(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = bias.defined() ? bias.data<float>()[j] : 0.0;
      for (int64_t c = 0; c < k; ++c) sum += static_cast<double>(a[i * k + c]) * b[j * k + c];
      y[i * n + j] = sum;
    }
  return y;
}

Values activate(const Values& x, Activation f) {
  Values y(x);
  for (double& v : y) switch (f) {
      case Activation::gelu_tanh: v *= 0.5 * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v))); break;
      case Activation::gelu_erf: v *= 0.5 * std::erfc(-v / std::sqrt(2.0)); break;
      case Activation::silu: v /= 1 + std::exp(-v); break;
      case Activation::quick_gelu: v /= 1 + std::exp(-1.702 * v); break;
    }
  return y;
}

Values rms_norm(const Values& x, const Tensor& gamma, double eps) {
  const auto g = gamma.span<float>();
  const size_t d = g.size();
  Values y(x);
  for (size_t at = 0; at < x.size(); at += d) {
    double sum = 0;
    for (size_t i = 0; i < d; ++i) sum += x[at + i] * x[at + i];
    for (size_t i = 0; i < d; ++i) y[at + i] *= g[i] / std::sqrt(sum / static_cast<double>(d) + eps);
  }
  return y;
}

Values layer_norm(const Values& x, int64_t channels, double eps) {
  const auto d = static_cast<size_t>(channels);
  Values y(x);
  for (size_t at = 0; at < x.size(); at += d) {
    double mean = 0, variance = 0;
    for (size_t i = 0; i < d; ++i) mean += x[at + i] / static_cast<double>(d);
    for (size_t i = 0; i < d; ++i) variance += (x[at + i] - mean) * (x[at + i] - mean) / static_cast<double>(d);
    for (size_t i = 0; i < d; ++i) y[at + i] = (x[at + i] - mean) / std::sqrt(variance + eps);
  }
  return y;
}

namespace {
template <typename Body>
void per_element(const RowGroups& groups, int64_t channels, Body body) {
  for (int64_t s = 0; s < groups.segments.count(); ++s)
    for (int64_t r = groups.segments.offsets[s]; r < groups.segments.offsets[s + 1]; ++r)
      for (int64_t c = 0; c < channels; ++c) body(r * channels + c, groups.table_row[s] * channels + c);
}
}  // namespace

Values modulate(const Values& x, const Tensor& scale, const Tensor& shift, const RowGroups& groups) {
  Values y(x);
  per_element(groups, scale.channels(),
              [&](int64_t i, int64_t t) { y[i] = x[i] * (1.0 + scale.data<float>()[t]) + shift.data<float>()[t]; });
  return y;
}

Values gated_add(const Values& residual, const Values& y, const Tensor& gate, const RowGroups& groups) {
  Values out(residual);
  per_element(groups, gate.channels(), [&](int64_t i, int64_t t) { out[i] += gate.data<float>()[t] * y[i]; });
  return out;
}

Values head_norm_rope(const Values& x, const Tensor& gamma, double eps, const Rope& rope, int64_t heads, int64_t rows) {
  Values y = gamma.defined() ? rms_norm(x, gamma, eps) : x;
  if (!rope.cos.defined()) return y;
  const int64_t dim = static_cast<int64_t>(x.size()) / rows / heads, half = dim / 2;
  const bool interleaved = rope.style == Rope::Style::interleaved;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t p = 0; p < half; ++p) {
        const int64_t base = (r * heads + h) * dim;
        double& a = y[base + (interleaved ? 2 * p : p)];
        double& b = y[base + (interleaved ? 2 * p + 1 : p + half)];
        const double c = rope.cos.data<float>()[r * half + p], s = rope.sin.data<float>()[r * half + p];
        const double u = a * c - b * s;
        b = a * s + b * c;
        a = u;
      }
  return y;
}

Values attention(const Values& q, const Values& k, const Values& v, const AttentionSpec& spec, int64_t channels) {
  const int64_t dim = channels / spec.heads, kv_channels = dim * spec.kv_heads;
  Values out(q.size());
  for (int64_t s = 0; s < spec.segments.count(); ++s)
    for (int64_t h = 0; h < spec.heads; ++h)
      for (int64_t i = spec.segments.offsets[s]; i < spec.segments.offsets[s + 1]; ++i) {
        const int64_t begin = spec.segments.offsets[s], end = spec.causal ? i + 1 : spec.segments.offsets[s + 1];
        const int64_t qa = i * channels + h * dim, kv = h * spec.kv_heads / spec.heads * dim;
        Values p;
        for (int64_t j = begin; j < end; ++j) {
          double score = 0;
          for (int64_t c = 0; c < dim; ++c) score += q[qa + c] * k[j * kv_channels + kv + c];
          p.push_back(score * spec.scale);
        }
        const double top = *std::max_element(p.begin(), p.end());
        double sum = 0;
        for (double& e : p) sum += e = std::exp(e - top);
        for (int64_t j = begin; j < end; ++j)
          for (int64_t c = 0; c < dim; ++c) out[qa + c] += p[j - begin] / sum * v[j * kv_channels + kv + c];
      }
  return out;
}

Values conv2d(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvSpec& spec) {
  const int64_t height = x.dim(0), width = x.dim(1), in = x.dim(2);
  const int64_t out = w.dim(0), kh = w.dim(2), kw = w.dim(3);
  const int64_t oh = (height + spec.pad_top + spec.pad_bottom - kh) / spec.stride + 1;
  const int64_t ow = (width + spec.pad_left + spec.pad_right - kw) / spec.stride + 1;
  Values y(static_cast<size_t>(oh * ow * out));
  for (int64_t r = 0; r < oh; ++r)
    for (int64_t c = 0; c < ow; ++c)
      for (int64_t o = 0; o < out; ++o) {
        double sum = bias.defined() ? bias.data<float>()[o] : 0.0;
        for (int64_t a = 0; a < kh; ++a)
          for (int64_t b = 0; b < kw; ++b) {
            const int64_t h = r * spec.stride + a - spec.pad_top, v = c * spec.stride + b - spec.pad_left;
            if (h < 0 || h >= height || v < 0 || v >= width) continue;
            for (int64_t i = 0; i < in; ++i)
              sum += static_cast<double>(x.data<float>()[(h * width + v) * in + i]) *
                     w.data<float>()[((o * in + i) * kh + a) * kw + b];
          }
        y[(r * ow + c) * out + o] = sum;
      }
  return y;
}

Values channel_norm(const Values& x, const Tensor& gamma) {
  const auto g = gamma.span<float>();
  const size_t d = g.size();
  Values y(x);
  for (size_t at = 0; at < x.size(); at += d) {
    double sum = 0;
    for (size_t i = 0; i < d; ++i) sum += x[at + i] * x[at + i];
    const double norm = std::max(std::sqrt(sum), 1e-12);
    for (size_t i = 0; i < d; ++i) y[at + i] *= std::sqrt(static_cast<double>(d)) * g[i] / norm;
  }
  return y;
}

Values guide(const Values& positive, const Values& negative, double scale, int64_t channels) {
  const auto d = static_cast<size_t>(channels);
  Values y(positive);
  for (size_t at = 0; at < y.size(); at += d) {
    double wanted = 0, norm = 0;
    for (size_t i = at; i < at + d; ++i) {
      y[i] = negative[i] + scale * (positive[i] - negative[i]);
      wanted += positive[i] * positive[i];
      norm += y[i] * y[i];
    }
    for (size_t i = at; i < at + d; ++i) y[i] = norm > 0 ? y[i] * std::sqrt(wanted / norm) : 0;
  }
  return y;
}

}  // namespace inkling::reference
