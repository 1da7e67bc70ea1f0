print("weir-replica")
