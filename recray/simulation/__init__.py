"""Made-up worlds: a synthetic catalogue with viewers, delivery facts for sets that lack them, closed loops, traffic."""
