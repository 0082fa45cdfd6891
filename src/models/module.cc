#include "models/module.h"

namespace inkling {

namespace {
std::string join(const std::string& prefix, const std::string& name) {
  if (prefix.empty() || name.empty()) return prefix + name;
  return prefix + "." + name;
}
}  // namespace

void Module::for_each_parameter(const std::function<void(const Parameter&)>& visit, const std::string& prefix) const {
  for (Parameter p : parameters_) {
    p.name = join(prefix, p.name);
    visit(p);
  }
  for (const Child& c : children_) c.module->for_each_parameter(visit, join(prefix, c.name));
}

void Module::for_each_block(const std::function<void(Module&)>& visit) {
  for (const Child& c : children_) {
    if (c.block)
      visit(*c.module);
    else
      c.module->for_each_block(visit);
  }
}

void Module::for_each_outer_parameter(const std::function<void(const Parameter&)>& visit,
                                      const std::string& prefix) const {
  for (Parameter p : parameters_) {
    p.name = join(prefix, p.name);
    visit(p);
  }
  for (const Child& c : children_)
    if (!c.block) c.module->for_each_outer_parameter(visit, join(prefix, c.name));
}

void Module::finish_names(const std::string& path) {
  path_ = path;
  for (const Parameter& p : parameters_)
    if (p.weight != nullptr) {
      const std::string full = join(path, p.name);
      p.weight->name = full.substr(0, full.size() - std::string(".weight").size());
    }
  for (const Child& c : children_) c.module->finish_names(join(path, c.name));
}

void Module::set_residency(Residency* residency) {
  residency_ = residency;
  for (const Child& c : children_) c.module->set_residency(residency);
}

void Module::add_linear(const std::string& name, Weight& weight, int64_t out, int64_t in, bool bias,
                        Parameter::Fold fold) {
  weight.shape = Shape{out, in};
  weight.has_bias = bias;
  parameters_.push_back({name + ".weight", Parameter::Kind::linear, fold, weight.shape, &weight, nullptr, false});
}

void Module::add_conv(const std::string& name, Weight& weight, int64_t out, int64_t in, int64_t kernel, bool bias,
                      Parameter::Fold fold) {
  weight.shape = Shape{out, in, kernel, kernel};
  weight.has_bias = bias;
  parameters_.push_back({name + ".weight", Parameter::Kind::convolution, fold, weight.shape, &weight, nullptr, false});
}

void Module::add_embedding(const std::string& name, Weight& weight, int64_t rows, int64_t dim) {
  weight.shape = Shape{rows, dim};
  weight.embedding = true;
  parameters_.push_back(
      {name + ".weight", Parameter::Kind::embedding, Parameter::Fold::none, weight.shape, &weight, nullptr, false});
}

void Module::add_vector(const std::string& name, Tensor& vector, int64_t length, bool optional) {
  parameters_.push_back(
      {name, Parameter::Kind::vector, Parameter::Fold::none, Shape{length}, nullptr, &vector, optional});
}

void Module::add_child(const std::string& name, Module& child) { children_.push_back({name, &child}); }
void Module::add_block(const std::string& name, Module& child) { children_.push_back({name, &child, true}); }

}  // namespace inkling
