"""Where workers come from: providers of machines, and the jobs that recruit and release workers."""
