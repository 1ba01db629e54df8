"""From a specification in natural language to a plan: what is asked, what an answer must be, how a plan comes of it.

Pure. Judging answers by running tests is left to `adapters/plan_steps`, the order of the stages to `cli`.
"""
