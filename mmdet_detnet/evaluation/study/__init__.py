"""Train detectors side by side with several seeds, and estimate their differences."""

from .execution import count_jobs, execute
from .plan import Run, Study, read_study
from .result_files import pack_results
from .study_report import write_report

__all__ = ['Run', 'Study', 'count_jobs', 'execute', 'pack_results', 'read_study', 'write_report']
