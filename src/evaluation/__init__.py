"""What a score is worth.

`open_checkpoint` (`open_trained`), `evaluator` (`Evaluator`), `cross_validation` (`Study`) with
`fold_training`, `judge` (everything that stands beside a score), `result_files` (`write_results`)
and `run_comparison` (`compare_runs`) are its doors; `metrics` are numbers, `analyses` questions
asked of them.
"""
