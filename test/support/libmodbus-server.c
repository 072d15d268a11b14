/* A libmodbus TCP slave on 127.0.0.1: 3000 items in each table, all zero, one connection at a time. */
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
  if (argc < 2) return 64;
  modbus_t *modbus = modbus_new_tcp("127.0.0.1", atoi(argv[1]));
  modbus_mapping_t *mapping = modbus_mapping_new(3000, 3000, 3000, 3000);
  if (modbus == NULL || mapping == NULL) return 1;
  for (int i = 0; i < 3000; i++) {
    mapping->tab_input_registers[i] = (uint16_t)(i * 7);
    mapping->tab_input_bits[i] = i % 3 == 0;
  }
  int listener = modbus_tcp_listen(modbus, 1);
  if (listener < 0) return 1;
  printf("ready\n");
  fflush(stdout);
  for (;;) {
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    if (modbus_tcp_accept(modbus, &listener) < 0) return 1;
    for (;;) {
      int length = modbus_receive(modbus, query);
      if (length < 0) break;
      if (length > 0) modbus_reply(modbus, query, length, mapping);
    }
    modbus_close(modbus);
  }
}
