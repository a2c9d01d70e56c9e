{
  # node-gyp is only a door: the CMake build is the one list of sources.
  "targets": [
    {
      "target_name": "latent_dynamics",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": [],
          "outputs": ["latent_dynamics.built"],
          "action": ["node", "scripts/build-native.mjs"]
        }
      ]
    }
  ]
}
