"""Facts of the game, and the compiled batch kernels that rest on them."""
