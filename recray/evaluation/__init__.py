"""How good recommendations are, judged offline: protocols, metrics, logged feedback, and the gate that promotes a bundle."""
