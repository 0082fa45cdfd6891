// Matrices that are stored quantized stay so when they are loaded, with adapters too; and plans know it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/cpu/cpu_ops.h"
#include "backends/plan/plan_ops.h"
#include "formats/block_quant.h"
#include "models/loader.h"
#include "models/qwen_image/dit.h"
#include "models/stored_low_bit.h"
#include "models/tiny.h"
#include "support/goldens.h"

namespace inkling::testing {
namespace {

DitConfig wide_dit() {
  DitConfig c = tiny_dit();
  c.heads = 4;  // 64 channels: a group of int4, a block of NF4
  c.mlp_dim = 4 * c.dim();
  return c;
}

bool in_block(const Parameter& p) {
  return p.kind == Parameter::Kind::linear && p.name.starts_with("transformer_blocks.");
}

class LowBitLoading : public ::testing::Test {
 protected:
  TempDir dir_;
  const DitConfig config_ = wide_dit();
  Dit dit_{config_};
  DitModulation modulation_{config_};
  CpuOps cpu_;
  PlanOps plan_{cpu_.model()};                                           // leaves the weights as they are loaded
  const std::string layer_ = "transformer_blocks.1.img_mlp.net.0.proj";  // [256, 64]

  // The same matrices in every form: of low bits, and as the numbers that those stand for.
  struct Files {
    Checkpoint stored, dense;
  };
  Files write(LowBit kind) {
    TensorMap stored = random_tensors(dit_), dense;
    stored.merge(random_tensors(modulation_));
    dense = stored;
    const auto replace = [&](const Parameter& p) {
      if (!in_block(p)) return;
      const LowBitMatrix m = quantize_low_bit(stored[p.name], kind, kind == LowBit::nf4 ? 0 : 64, p.name);
      stored.erase(p.name);
      const TensorMap parts = stored_low_bit(p.name.substr(0, p.name.size() - 7), p.shape, m);
      stored.insert(parts.begin(), parts.end());
    };
    dit_.for_each_parameter(replace);
    modulation_.for_each_parameter(replace);
    save(dir_ / "stored.safetensors", stored);
    const Checkpoint checkpoint = Checkpoint::open(dir_ / "stored.safetensors", Component::dit);
    for (auto& [name, t] : dense) t = to_f32(checkpoint.load(*checkpoint.find(name)));
    save(dir_ / "dense.safetensors", dense);
    return {checkpoint, Checkpoint::open(dir_ / "dense.safetensors", Component::dit)};
  }
  Files write_gguf_file(DType type) {
    TensorMap tensors = random_tensors(dit_);
    tensors.merge(random_tensors(modulation_));
    std::vector<TensorToWrite> list;
    std::vector<Tensor> values;
    for (const auto& [name, t] : tensors) {
      const bool block = t.shape().rank() == 2 && name.starts_with("transformer_blocks.");
      Tensor made = host_tensor(t.shape(), block ? type : DType::f32);
      quantize_row(made.dtype(), t.data<float>(), made.raw(), t.elements());
      list.push_back({name, made.dtype(), t.shape()});
      values.push_back(made);
    }
    write_gguf(dir_ / "model.gguf", list, [&](size_t i) { return values[i]; });
    const Checkpoint c = Checkpoint::open(dir_ / "model.gguf", Component::dit);
    return {c, c};
  }
  std::vector<float> run(const Checkpoint& checkpoint) {
    load_parameters(dit_, checkpoint, cpu_);
    load_parameters(modulation_, checkpoint, cpu_);
    DitInputs in;
    in.pictures = {{1, 2, 3}};
    in.text = cpu_.upload(random_tensor(Shape{5, config_.text_dim}, 1));
    in.text_segments = Segments::single(5);
    const std::vector<float> steps{700.f};
    const auto table = modulation_.forward(cpu_, steps);
    const Tensor v = cpu_.download(dit_.forward(
        cpu_, dit_.prepare(cpu_, in), cpu_.upload(random_tensor(Shape{6, config_.in_channels}, 2, 1.f)), table[0]));
    drop_parameters(dit_);
    drop_parameters(modulation_);
    return {v.span<float>().begin(), v.span<float>().end()};
  }
  LoraSet lora(float size) {
    LoraSet set(config_);
    TensorMap tensors{{layer_ + ".lora_down.weight", random_tensor(Shape{2, 64}, 1, 1.f)},
                      {layer_ + ".lora_up.weight", random_tensor(Shape{256, 2}, 2, size)}};
    save(dir_ / "lora.safetensors", tensors);
    set.add(dir_ / "lora.safetensors", 1.f);
    return set;
  }
  const Weight& weight(const std::string& name) {
    const Weight* found = nullptr;
    dit_.for_each_parameter([&](const Parameter& p) {
      if (p.weight != nullptr && p.weight->name == name) found = p.weight;
    });
    return *found;
  }
  // The loaded matrix in float32.
  Tensor values(const Weight& w) {
    return w.low_bit.kind == LowBit::none ? dequantize(w.value) : dense_value(w.shape, w.value, w.low_bit);
  }
};

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) difference += std::pow(a[i] - b[i], 2), size += std::pow(b[i], 2);
  return std::sqrt(difference / size);
}

TEST_F(LowBitLoading, CodesReachTheBackend) {
  for (const LowBit kind : {LowBit::w8a8, LowBit::w4a8, LowBit::nf4}) {
    const Files files = write(kind);
    load_parameters(dit_, files.stored, plan_);
    int low = 0;
    dit_.for_each_parameter([&](const Parameter& p) {
      if (p.weight == nullptr) return;
      const Weight& w = *p.weight;
      EXPECT_EQ(w.low_bit.kind, in_block(p) ? kind : LowBit::none) << p.name;
      EXPECT_EQ(w.stored, w.value.dtype());
      low += w.low_bit.kind == kind;
    });
    EXPECT_EQ(low, 20);  // of 24: four only feed the unused text output of the last block
    drop_parameters(dit_);
    dit_.for_each_parameter([](const Parameter& p) {
      if (p.weight != nullptr) {
        EXPECT_EQ(p.weight->low_bit.kind, LowBit::none);
      }
    });
    // And they stand for the same numbers: where activations are rounded too, up to that rounding.
    const double got = distance(run(files.stored), run(files.dense));
    std::printf("  %-5s differs by %.5f from its numbers in float32\n", std::string(name(kind)).c_str(), got);
    EXPECT_LE(got, kind == LowBit::nf4 ? 1e-5 : 0.03);
  }
}

TEST_F(LowBitLoading, AdaptersKeepTheForm) {
  const auto check = [&](const Files& files, const std::string& what, double tolerance) {
    const LoraSet loras = lora(0.05f);
    LoadOptions options;
    options.loras = &loras;
    Tensor expected = host_tensor(Shape{256, 64});
    load_parameters(dit_, files.stored, plan_);
    const Weight& w = weight(layer_);
    const DType type = w.value.dtype();
    const LowBit kind = w.low_bit.kind;
    const int64_t bytes = w.value.bytes();
    const Tensor base = values(w);
    std::memcpy(expected.raw(), base.raw(), static_cast<size_t>(base.bytes()));
    Tensor delta = host_tensor(expected.shape());
    std::ranges::fill(delta.span<float>(), 0.f);
    loras.apply(layer_, delta);
    drop_parameters(dit_);

    const LoadReport report = load_parameters(dit_, files.stored, plan_, options);
    EXPECT_EQ(report.patched, 1);
    EXPECT_EQ(w.value.dtype(), type);
    EXPECT_EQ(w.low_bit.kind, kind);
    EXPECT_EQ(w.value.bytes(), bytes);
    // The adapter is there: the change has its direction and its size.
    const Tensor after = values(w);
    double along = 0, size = 0;
    for (int64_t i = 0; i < delta.elements(); ++i) {
      along += (after.data<float>()[i] - base.data<float>()[i]) * delta.data<float>()[i];
      size += std::pow(delta.data<float>()[i], 2);
    }
    std::printf("  %-5s keeps %.3f of the adapter\n", what.c_str(), along / size);
    EXPECT_NEAR(along / size, 1, tolerance) << what;
    drop_parameters(dit_);
    declare_parameters(dit_, plan_, &files.stored, DType::bf16, &loras);
    EXPECT_EQ(w.stored, type) << what;
    EXPECT_EQ(w.low_bit.kind, kind) << what;
    drop_parameters(dit_);
  };
  for (const LowBit kind : {LowBit::w8a8, LowBit::w4a8, LowBit::nf4})
    check(write(kind), std::string(name(kind)), kind == LowBit::w8a8 ? 0.02 : 0.08);
  for (const DType type : {DType::q8_0, DType::q4_0})
    check(write_gguf_file(type), std::string(name(type)), type == DType::q8_0 ? 0.02 : 0.08);
}

TEST_F(LowBitLoading, PlainMatricesWithAnAdapterBecomeFloat32) {
  TensorMap tensors = random_tensors(dit_);
  tensors.merge(random_tensors(modulation_));
  for (auto& [name, t] : tensors) {
    Tensor half = host_tensor(t.shape(), DType::bf16);
    quantize_row(DType::bf16, t.data<float>(), half.raw(), t.elements());
    t = half;
  }
  save(dir_ / "model.safetensors", tensors);
  const Checkpoint checkpoint = Checkpoint::open(dir_ / "model.safetensors", Component::dit);
  const LoraSet loras = lora(0.05f);
  LoadOptions options;
  options.loras = &loras;
  load_parameters(dit_, checkpoint, plan_, options);
  EXPECT_EQ(weight(layer_).stored, DType::f32);
  drop_parameters(dit_);
  declare_parameters(dit_, plan_, &checkpoint, DType::bf16, &loras);
  EXPECT_EQ(weight(layer_).stored, DType::f32);
  EXPECT_EQ(weight("img_in").stored, DType::bf16);
}

TEST_F(LowBitLoading, ScalesThatAreNoNumbersAreRefused) {
  TensorMap tensors = random_tensors(dit_);
  LowBitMatrix m = quantize_low_bit(tensors[layer_ + ".weight"], LowBit::w8a8, 64, "x");
  m.parts.scale.data<float>()[7] = NAN;
  tensors.erase(layer_ + ".weight");
  tensors.merge(stored_low_bit(layer_, Shape{256, 64}, m));
  save(dir_ / "model.safetensors", tensors);
  const Checkpoint checkpoint = Checkpoint::open(dir_ / "model.safetensors", Component::dit);
  EXPECT_TRUE(says(model_error([&] { load_parameters(dit_, checkpoint, cpu_); }), "scale holds nan at element 7"));
}

TEST_F(LowBitLoading, PlansAreExact) {
  for (const LowBit kind : {LowBit::w8a8, LowBit::w4a8, LowBit::nf4}) {
    const Files files = write(kind);
    CpuOps cpu;
    load_parameters(dit_, files.stored, cpu);
    load_parameters(modulation_, files.stored, cpu);
    const int64_t prepared = cpu.memory().current;
    drop_parameters(dit_);
    drop_parameters(modulation_);
    PlanOps plan(cpu.model());
    declare_parameters(dit_, plan, &files.stored);
    declare_parameters(modulation_, plan, &files.stored);
    EXPECT_EQ(plan.memory().current, prepared) << name(kind);
    drop_parameters(dit_);
    drop_parameters(modulation_);
  }
}

}  // namespace
}  // namespace inkling::testing
