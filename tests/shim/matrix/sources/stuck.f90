! SPDX-License-Identifier: Apache-2.0
program stuck
  open(10, file='stuck.out')
  write(10, '(a)') 'before'
  flush(10)
  write(10, '(a)') 'lost with us'
  call abort()
end program stuck
