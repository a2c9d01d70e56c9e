/** Small sound ONNX models that between them hold every kind of operator the importer knows. */

const types = { f: 1, i: 2, s: 3, t: 4, floats: 6, ints: 7 };
const float = 1;
const int64 = 7;

function attribute(name, value) {
  const [kind] = Object.keys(value);
  const content = kind === "s" ? { s: new TextEncoder().encode(value.s) } : value;
  return { name, type: types[kind], ...content };
}

function tensor(dims, data) {
  return { dims, dataType: float, rawData: new Uint8Array(Float32Array.from(data).buffer) };
}

function ramp(...dims) {
  const size = dims.reduce((product, n) => product * n, 1);
  return tensor(
    dims,
    Array.from({ length: size }, (_, i) => ((i * 7) % 11) / 11 - 0.4),
  );
}

const wholes = (...values) => ({ dims: [values.length], dataType: int64, int64Data: values });
const whole = (value) => ({ dims: [], dataType: int64, int64Data: [value] });
const number = (value) => tensor([], [value]);

/** nodes: [operator, inputs, outputs, attributes?], the last one's first output is the model's. */
function model(opset, shape, tensors, nodes, output = nodes.at(-1)[2].split(" ")[0]) {
  return {
    irVersion: 8,
    opsetImport: [{ domain: "", version: opset }],
    graph: {
      name: "graph",
      node: nodes.map(([opType, inputs, outputs, attributes = {}], i) => ({
        opType,
        name: `n${i}`,
        input: inputs === "" ? [] : inputs.split(" ").map((name) => (name === "-" ? "" : name)),
        output: outputs.split(" "),
        attribute: Object.entries(attributes).map(([name, value]) => attribute(name, value)),
      })),
      initializer: Object.entries(tensors).map(([name, value]) => ({ name, ...value })),
      input: [
        {
          name: "x",
          type: {
            tensorType: {
              elemType: float,
              shape: { dim: [{ dimParam: "n" }, ...shape.map((dimValue) => ({ dimValue }))] },
            },
          },
        },
      ],
      output: [{ name: output }],
    },
  };
}

const convolutional = () =>
  model(
    13,
    [2, 4, 4],
    {
      w: ramp(4, 2, 3, 3),
      b: ramp(4),
      g: ramp(4),
      u: ramp(4, 2, 2, 2),
      m: ramp(3, 32),
      scales: tensor([4], [1, 1, 2, 2]),
      two: wholes(0, 2, 4, 4),
      flat: wholes(-1, 32),
      pads: wholes(0, 0, 0, 0, 0, 0, 1, 1),
    },
    [
      ["Pad", "x pads", "p", { mode: { s: "constant" } }],
      ["Conv", "p w b", "c", { pads: { ints: [1, 1, 0, 0] }, strides: { ints: [2, 2] }, group: { i: 1 } }],
      ["BatchNormalization", "c b g b g", "bn", { epsilon: { f: 0.9 } }],
      ["InstanceNormalization", "bn g b", "in", { epsilon: { f: 0.1 } }],
      ["Relu", "in", "r"],
      [
        "MaxPool",
        "r",
        "mp",
        { kernel_shape: { ints: [2, 2] }, strides: { ints: [1, 1] }, pads: { ints: [1, 1, 0, 0] } },
      ],
      [
        "Resize",
        "mp - scales",
        "up",
        {
          mode: { s: "nearest" },
          coordinate_transformation_mode: { s: "asymmetric" },
          nearest_mode: { s: "floor" },
        },
      ],
      ["AveragePool", "up", "ap", { kernel_shape: { ints: [2, 2] }, strides: { ints: [2, 2] } }],
      ["ConvTranspose", "ap u", "ct", { strides: { ints: [2, 2] } }],
      ["Reshape", "ct two", "rs"],
      ["Reshape", "rs flat", "fl"],
      ["Gemm", "fl m", "y", { transB: { i: 1 } }],
    ],
  );

const transformer = () =>
  model(
    14,
    [4, 6],
    {
      token: ramp(1, 1, 6),
      zero: wholes(0),
      one: wholes(1),
      open: wholes(-1),
      rest: wholes(-1, -1),
      two: number(2),
      small: number(1e-5),
      scale: ramp(6),
      wq: ramp(6, 18),
      bias: ramp(18),
      heads: wholes(0, 0, 3, 2, 3),
      i0: whole(0),
      i1: whole(1),
      i2: whole(2),
      root: number(0.57),
      joined: wholes(0, 0, 6),
      pick: wholes(0, 2, 4, 1),
      unity: number(1),
      half: number(0.5),
      sqrt2: number(Math.SQRT2),
      mask: ramp(5, 5),
    },
    [
      ["Shape", "x", "sh"],
      ["Slice", "sh zero one", "batch"],
      ["Concat", "batch rest", "target", { axis: { i: 0 } }],
      ["Equal", "target open", "eq"],
      ["Where", "eq one target", "shape"],
      ["Expand", "token shape", "cls"],
      ["Concat", "cls x", "t", { axis: { i: 1 } }],
      ["ReduceMean", "t", "mean", { axes: { ints: [-1] } }],
      ["Sub", "t mean", "d"],
      ["Pow", "d two", "sq"],
      ["ReduceMean", "sq", "var", { axes: { ints: [-1] } }],
      ["Add", "var small", "ve"],
      ["Sqrt", "ve", "sd"],
      ["Div", "d sd", "norm"],
      ["Mul", "norm scale", "ns"],
      ["MatMul", "ns wq", "mm"],
      ["Add", "mm bias", "qkv"],
      ["Reshape", "qkv heads", "h"],
      ["Transpose", "h", "ht", { perm: { ints: [2, 0, 3, 1, 4] } }],
      ["Gather", "ht i0", "q", { axis: { i: 0 } }],
      ["Gather", "ht i1", "k", { axis: { i: 0 } }],
      ["Gather", "ht i2", "v", { axis: { i: 0 } }],
      ["Mul", "q root", "qs"],
      ["Transpose", "k", "kt", { perm: { ints: [0, 1, 3, 2] } }],
      ["MatMul", "qs kt", "scores"],
      ["Add", "scores mask", "masked"],
      ["Softmax", "masked", "weights", { axis: { i: -1 } }],
      ["MatMul", "weights v", "o"],
      ["Transpose", "o", "ot", { perm: { ints: [0, 2, 1, 3] } }],
      ["Reshape", "ot joined", "oj"],
      ["Add", "t oj", "res"],
      ["Div", "res sqrt2", "ge"],
      ["Erf", "ge", "er"],
      ["Add", "er unity", "e1"],
      ["Mul", "res e1", "rg"],
      ["Mul", "rg half", "gelu"],
      ["Gather", "gelu pick", "picked", { axis: { i: 1 } }],
      ["Einsum", "picked", "y", { equation: { s: "bij->bji" } }],
    ],
  );

const operators = () =>
  model(
    23,
    [2, 4, 6],
    {
      s: ramp(6),
      mask: ramp(4, 4),
      ax: wholes(-1),
      reps: wholes(1, 1, 2, 1),
      steps: wholes(2),
      starts: wholes(0),
      ends: wholes(2 ** 63),
      idx: wholes(3, 1, 0, 2),
      gs: ramp(2),
      k: wholes(2),
      c: number(0.3),
      axis2: wholes(2),
      parts: wholes(2, 4),
    },
    [
      ["LayerNormalization", "x s s", "ln", { axis: { i: -1 }, epsilon: { f: 0.01 } }],
      ["RMSNormalization", "ln s", "rms", { axis: { i: -1 } }],
      ["Attention", "rms ln x mask", "at", { scale: { f: 0.5 }, is_causal: { i: 1 } }],
      ["GroupNormalization", "at gs gs", "gn", { num_groups: { i: 1 } }],
      ["Gelu", "gn", "gl", { approximate: { s: "tanh" } }],
      ["HardSwish", "gl", "hs"],
      ["Tile", "hs reps", "ti"],
      ["Slice", "ti starts ends axis2 steps", "sl"],
      ["Gather", "sl idx", "ga", { axis: { i: 2 } }],
      ["ReduceMax", "ga ax", "rm", { keepdims: { i: 1 } }],
      ["ReduceL2", "ga ax", "rl", { keepdims: { i: 1 } }],
      ["Sub", "ga rm", "sb"],
      ["Div", "sb rl", "dv"],
      ["Greater", "dv c", "gr"],
      ["Not", "gr", "no"],
      ["Where", "no dv c", "wh"],
      ["Split", "wh parts", "s1 s2", { axis: { i: -1 } }],
      ["Exp", "s1", "ex"],
      ["Concat", "s2 ex", "y", { axis: { i: 3 } }],
    ],
  );

const sparse = () =>
  model(
    17,
    [6],
    { w: ramp(6, 10), b: ramp(10), k: wholes(3), theta: ramp(10), out: ramp(10, 4), bias: ramp(4) },
    [
      ["MatMul", "x w", "m"],
      ["Add", "m b", "pre"],
      ["TopK", "pre k", "values indices", { axis: { i: -1 } }],
      ["Shape", "pre", "sh"],
      ["ConstantOfShape", "sh", "zeros"],
      ["Relu", "values", "rv"],
      ["ScatterElements", "zeros indices rv", "sp", { axis: { i: -1 } }],
      ["Greater", "sp theta", "on"],
      ["Cast", "on", "gate", { to: { i: 1 } }],
      ["Mul", "sp gate", "jump"],
      ["Gemm", "jump out bias", "y"],
    ],
  );

const constants = () =>
  model(
    15,
    [3, 3],
    {
      w: {
        dims: [3, 3],
        dataType: float,
        dataLocation: 1,
        externalData: [
          { key: "location", value: "weights.bin" },
          { key: "offset", value: "0" },
          { key: "length", value: "36" },
        ],
      },
      half: { dims: [3], dataType: 10, int32Data: [15360, 14336, 13312] },
      zero: whole(0),
      three: whole(3),
      one: whole(1),
      first: wholes(0),
      list: wholes(3, 3),
    },
    [
      ["Range", "zero three one", "range"],
      ["CumSum", "range first", "sum"],
      ["Cast", "sum", "float", { to: { i: 1 } }],
      ["Constant", "", "value", { value_floats: { floats: [1, 2, 3] } }],
      ["Add", "float value", "shift"],
      ["ConstantOfShape", "list", "ones", { value: { t: { ...tensor([1], [1]), name: "v" } } }],
      ["Trilu", "ones", "tri", { upper: { i: 0 } }],
      ["MatMul", "x w", "mm"],
      ["Mul", "mm tri", "mt"],
      ["Add", "mt shift", "ms"],
      ["Sub", "ms half", "y"],
    ],
  );

export const onnxSeeds = () => [convolutional(), transformer(), operators(), sparse(), constants()];
