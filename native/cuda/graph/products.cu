// The host's side of products: packing, and which kernel runs. The kernels are in products_*.cu.
#include "products.h"

#include "window_tables.h"

#include <string>

namespace latdyn::cuda {

namespace {

constexpr int64_t largest_row = int64_t{1} << 31;

void expect(bool good, const std::string& what) {
    if (!good)
        throw Error(what);
}

void check_window(const WindowShape& shape, size_t weights, size_t bias) {
    for (int32_t size : {shape.height, shape.width, shape.channels, shape.out_height, shape.out_width,
                         shape.out_channels, shape.groups, shape.kernel_h, shape.kernel_w, shape.stride_h,
                         shape.stride_w, shape.dilation_h, shape.dilation_w})
        expect(size >= 1, "a window has a size of " + std::to_string(size) + ", expected at least 1");
    expect(shape.channels % shape.groups == 0 && shape.out_channels % shape.groups == 0,
           "a window of " + std::to_string(shape.channels) + " → " + std::to_string(shape.out_channels) +
               " channels does not have " + std::to_string(shape.groups) + " groups");
    for (int64_t row : {int64_t{shape.height} * shape.width * shape.channels,
                        int64_t{shape.out_height} * shape.out_width * shape.out_channels})
        expect(row < largest_row, "a window's row has " + std::to_string(row) + " elements, expected below " +
                                      std::to_string(largest_row));
    const int64_t expected =
        int64_t{shape.channels} * (shape.out_channels / shape.groups) * shape.kernel_h * shape.kernel_w;
    expect(static_cast<int64_t>(weights) == expected,
           "a window has " + std::to_string(weights) + " weights, expected " + std::to_string(expected));
    expect(bias == 0 || bias == static_cast<size_t>(shape.out_channels),
           "a window has " + std::to_string(bias) + " biases, expected " +
               std::to_string(shape.out_channels));
}

} // namespace

Window::Window(const WindowShape& shape, std::span<const float> weights, std::span<const float> bias,
               const Activation& activation, Precision precision)
    : shape_(shape), activation(activation), precision(precision) {
    check_window(shape, weights.size(), bias.size());
    const WindowTables tables = window_tables(shape, weights, precision, warpgroups());
    step_h = tables.step_h;
    step_w = tables.step_w;
    out_step_h = tables.out_step_h;
    out_step_w = tables.out_step_w;
    vector = tables.vector;
    by_warpgroups = tables.by_warpgroups;
    columns = tables.columns;
    column_tiles = tables.column_tiles;
    most_positions = tables.most_positions;
    classes = Buffer<WindowClass>(std::span<const WindowClass>(tables.classes));
    taps = Buffer<Tap>(std::span<const Tap>(tables.taps));
    packed = Buffer<float>(std::span<const float>(tables.weights));
    if (!bias.empty())
        biases = Buffer<float>(bias);
}

int64_t Window::weight_bytes() const {
    return (packed.size() + biases.size()) * int64_t{sizeof(float)} +
           classes.size() * int64_t{sizeof(WindowClass)} + taps.size() * int64_t{sizeof(Tap)};
}

int Window::launches() const {
    return 1;
}

void Window::run(const float* x, const float* residual, float* y, int64_t rows) const {
    if (rows == 0)
        return;
    WindowTask task{};
    task.x = x;
    task.residual = residual;
    task.y = y;
    task.rows = rows;
    task.height = shape_.height;
    task.width = shape_.width;
    task.channels = shape_.channels;
    task.out_height = shape_.out_height;
    task.out_width = shape_.out_width;
    task.out_channels = shape_.out_channels;
    task.groups = shape_.groups;
    task.group_channels = shape_.channels / shape_.groups;
    task.group_outputs = shape_.out_channels / shape_.groups;
    task.step_h = step_h;
    task.step_w = step_w;
    task.out_step_h = out_step_h;
    task.out_step_w = out_step_w;
    task.classes = classes.get();
    task.class_count = static_cast<int32_t>(classes.size());
    task.column_tiles = column_tiles;
    task.taps = taps.get();
    task.weights = packed.get();
    task.bias = biases.size() > 0 ? biases.get() : nullptr;
    task.activation = activation;
    task.vector = vector;
    task.whole_outputs = task.group_outputs % 4 == 0;
    if (precision == Precision::float32)
        launch_float32(task, columns, rows * most_positions);
    else if (by_warpgroups)
        launch_warpgroups(task, shape_, columns, rows * most_positions, precision);
    else if (!launch_patches(task, shape_, columns, precision))
        launch_tensor(task, columns, rows * most_positions, precision);
}

Matmul::Matmul(const MatmulShape& shape, const Activation& activation, Precision precision)
    : shape_(shape), activation(activation), precision(precision) {
    for (int64_t size : {shape.m, shape.n, shape.inner})
        expect(size >= 1 && size < (1 << 30),
               "a product has a size of " + std::to_string(size) + ", expected at least 1 and below 2³⁰");
    expect(!shape.a_offset.empty() && shape.a_offset.size() == shape.b_offset.size(),
           "a product has " + std::to_string(shape.a_offset.size()) + " and " +
               std::to_string(shape.b_offset.size()) + " offsets, expected as many, and at least one");
    const auto by_four = [](int64_t width, int64_t row, const std::vector<int32_t>& offsets) {
        return width % 4 == 0 && row % 4 == 0 &&
               std::all_of(offsets.begin(), offsets.end(), [](int32_t at) { return at % 4 == 0; });
    };
    vector = by_four(shape.inner, shape.a_row, shape.a_offset);
    right_vector = by_four(shape.n, shape.b_row, shape.b_offset);
    a_offsets = Buffer<int32_t>(std::span<const int32_t>(shape.a_offset));
    b_offsets = Buffer<int32_t>(std::span<const int32_t>(shape.b_offset));
}

int64_t Matmul::table_bytes() const {
    return (a_offsets.size() + b_offsets.size()) * int64_t{sizeof(int32_t)};
}

void Matmul::run(const float* a, const float* b, float* y, int64_t rows) const {
    if (rows == 0)
        return;
    MatmulTask task{};
    task.a = a;
    task.b = b;
    task.y = y;
    task.m = static_cast<int32_t>(shape_.m);
    task.n = static_cast<int32_t>(shape_.n);
    task.inner = static_cast<int32_t>(shape_.inner);
    task.a_row = shape_.a_row;
    task.b_row = shape_.b_row;
    task.a_offset = a_offsets.get();
    task.b_offset = b_offsets.get();
    task.products = static_cast<int32_t>(a_offsets.size());
    task.activation = activation;
    task.vector = vector;
    task.right_vector = right_vector;
    task.whole_outputs = task.n % 4 == 0;
    const int columns = tile_columns_for(task.n, Precision::float32);
    if (precision == Precision::float32)
        launch_float32(task, columns, rows);
    else
        launch_tensor(task, columns, rows, precision);
}

} // namespace latdyn::cuda
