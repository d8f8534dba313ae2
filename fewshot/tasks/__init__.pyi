from .base import TaskContext as TaskContext, TaskFactory as TaskFactory, TaskSource as TaskSource
from .clusters import ClusterTasks as ClusterTasks
from .decoded import DecodedTasks as DecodedTasks
from .neighbours import NeighbourTasks as NeighbourTasks
from .partitions import PartitionTasks as PartitionTasks
from .views import ViewTasks as ViewTasks
