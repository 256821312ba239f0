"""In which order candidates are shown: rankers give probabilities per objective, the slate weighs and diversifies them."""
