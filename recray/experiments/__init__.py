"""Who meets which arm, how small choices learn online, and whether an arm was better: assign, bandit, interleave, analysis."""
