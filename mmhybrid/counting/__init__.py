"""What a network has and computes: parameters, multiply-accumulates, activations, counted and added up by parts."""
